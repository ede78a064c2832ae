//! What the programs counted.

use aya::maps::{MapData, PerCpuArray};

use super::layout::{COUNT_DELIVERED, COUNT_LIFTED, COUNT_PASSED_OPEN, COUNTS};
use super::{SteerError, Steering};
use crate::tag::MAX_PORTS;
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

/// The counters alone, to be read from any thread.
pub struct CountsReader(pub(super) PerCpuArray<MapData, [u64; COUNTS]>);

impl Steering {
    /// Counters of `port`; port 0 holds what could not be assigned to one.
    pub fn counts(&self, port: u16) -> Result<PortCounts, SteerError> {
        read(&self.counts, port)
    }
}

impl CountsReader {
    /// Counters of all ports there are and ever were, and of what could not be assigned to one. A call
    /// into the kernel for each; no frame waits for it.
    pub fn total(&self) -> Result<PortCounts, SteerError> {
        let mut total = PortCounts::default();
        for port in 0..MAX_PORTS as u16 {
            let counts = read(&self.0, port)?;
            for (sum, count) in total.drops.iter_mut().zip(counts.drops) {
                *sum += count;
            }
            total.lifted += counts.lifted;
            total.delivered += counts.delivered;
            total.passed_open += counts.passed_open;
        }
        Ok(total)
    }
}

fn read(counts: &PerCpuArray<MapData, [u64; COUNTS]>, port: u16) -> Result<PortCounts, SteerError> {
    let per_cpu =
        counts.get(&u32::from(port), 0).map_err(|source| SteerError::Map { map: "counts", source })?;
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
