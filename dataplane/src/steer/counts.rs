//! What the programs counted.

use super::layout::{COUNT_DELIVERED, COUNT_LIFTED, COUNT_PASSED_OPEN, COUNTS};
use super::{SteerError, Steering};
use crate::verdict::DropReason;

/// Counters of one port, summed over CPUs, since the steering was first loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounts {
    /// Drops, by the first [`DropReason::STEERING`] reasons.
    pub drops: [u64; DropReason::STEERING],
    /// Frames taken up to the trunk.
    pub lifted: u64,
    /// Frames put down from it.
    pub delivered: u64,
    /// Frames passed unfiltered because no worker lived and the fallback is open.
    pub passed_open: u64,
}

impl Steering {
    /// Counters of `port`; port 0 holds what could not be assigned to one.
    pub fn counts(&self, port: u16) -> Result<PortCounts, SteerError> {
        let per_cpu = self
            .counts
            .get(&u32::from(port), 0)
            .map_err(|source| SteerError::Map { map: "counts", source })?;
        let mut sum = [0_u64; COUNTS];
        for cpu in per_cpu.iter() {
            for (total, value) in sum.iter_mut().zip(cpu) {
                *total += value;
            }
        }
        let mut drops = [0; DropReason::STEERING];
        drops.copy_from_slice(&sum[..DropReason::STEERING]);
        Ok(PortCounts {
            drops,
            lifted: sum[COUNT_LIFTED],
            delivered: sum[COUNT_DELIVERED],
            passed_open: sum[COUNT_PASSED_OPEN],
        })
    }
}
