//! What a table is made from.

use thiserror::Error;

use crate::{HashSecret, Time, Timeouts};

/// The most flows that a table may be made for: 10 GiB of entries.
pub const MAX_CAPACITY: usize = 1 << 26;

/// What a table is made from.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Flows that fit, from 1 to [`MAX_CAPACITY`]. Memory is reserved at once: 156 bytes a flow and
    /// 3 for its tag.
    pub capacity: usize,
    /// Keys the placement of flows; drawn at random at every start.
    pub secret: HashSecret,
    /// How long silent flows are remembered.
    pub timeouts: Timeouts,
    /// Until when TCP connections that were there before the table are taken up in the middle.
    pub pickup_until: Time,
}

/// Why a table cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// The capacity is 0, or more than the table can number.
    #[error("flow table capacity {capacity}: must be from 1 to {MAX_CAPACITY}")]
    Capacity {
        /// The capacity that was asked for.
        capacity: usize,
    },
}
