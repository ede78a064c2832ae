//! What the flow table is made from: what an operator says, and what the rest follows from.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use podgate_flowtable::{MAX_CAPACITY, Quota, Timeouts};

use super::memory;

/// What the table takes for a flow, about.
const FLOW_BYTES: u64 = 160;
/// The part of the memory that is given to flows where nobody says how many.
const MEMORY_SHARE: u64 = 64;
/// How many flows that may come to.
const AUTO: RangeInclusive<u64> = 1 << 16..=1 << 20;

/// How many flows can be tracked at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowCapacity {
    /// As many as fit in a 64th of the memory there is, from 65,536 to 1,048,576.
    Auto,
    /// So many.
    Exactly(usize),
}

/// A text that says no capacity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("use 'auto' or a number from 1 to {MAX_CAPACITY}")]
pub struct NoCapacity;

/// What an operator can say of the flow table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowOptions {
    /// Flows that can be tracked at once.
    pub capacity: FlowCapacity,
    /// Flows that one pod may open, and as many that may come to it; an eighth of the capacity
    /// where `None`.
    pub per_pod: Option<NonZeroU32>,
    /// Of these, half-open and unanswered ones; a sixty-fourth of the capacity where `None`.
    pub half_open_per_pod: Option<NonZeroU32>,
    /// How long silent flows are remembered.
    pub timeouts: Timeouts,
    /// For so long after the start, TCP connections are taken up in the middle.
    pub pickup_grace: Duration,
    /// Whether the table is moved into huge pages, as far as the kernel has them.
    pub huge_pages: bool,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self {
            capacity: FlowCapacity::Auto,
            per_pod: None,
            half_open_per_pod: None,
            timeouts: Timeouts::default(),
            pickup_grace: Duration::from_mins(1),
            huge_pages: true,
        }
    }
}

impl FlowCapacity {
    /// The number of flows, on this machine.
    pub(super) fn resolve(self) -> usize {
        match self {
            Self::Exactly(flows) => flows,
            Self::Auto => match memory::total_bytes() {
                Ok(bytes) => fitting(bytes),
                Err(error) => {
                    tracing::warn!(%error, "cannot tell how much memory there is; the flow table stays small");
                    fitting(0)
                }
            },
        }
    }
}

fn fitting(memory_bytes: u64) -> usize {
    (memory_bytes / MEMORY_SHARE / FLOW_BYTES).clamp(*AUTO.start(), *AUTO.end()) as usize
}

impl FromStr for FlowCapacity {
    type Err = NoCapacity;

    fn from_str(text: &str) -> Result<Self, NoCapacity> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(flows)) if (1..=MAX_CAPACITY).contains(&flows) => Ok(Self::Exactly(flows)),
            _ => Err(NoCapacity),
        }
    }
}

impl fmt::Display for FlowCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(flows) => flows.fmt(f),
        }
    }
}

impl FlowOptions {
    /// What one owner may have in a table for `capacity` flows.
    pub(super) fn quota(&self, capacity: usize) -> Quota {
        // In a small table a share would not be enough for an ordinary pod.
        let share = |divisor: usize, least: usize| {
            u32::try_from((capacity / divisor).max(least).min(capacity)).unwrap_or(u32::MAX)
        };
        Quota {
            flows: self.per_pod.map_or_else(|| share(8, 1024), NonZeroU32::get),
            half_open: self.half_open_per_pod.map_or_else(|| share(64, 256), NonZeroU32::get),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_a_number_or_follows_from_memory() {
        for text in ["auto", "1", "67108864"] {
            assert_eq!(text.parse::<FlowCapacity>().unwrap().to_string(), text);
        }
        for text in ["", "Auto", "0", "67108865", "-1", "1e6"] {
            assert_eq!(text.parse::<FlowCapacity>(), Err(NoCapacity), "{text}");
        }
        assert_eq!(FlowCapacity::Exactly(7).resolve(), 7);
        assert!(AUTO.contains(&(FlowCapacity::Auto.resolve() as u64)));
        let of_gib = [0, 1, 8, 64].map(|gib| fitting(gib << 30));
        assert_eq!(of_gib, [65_536, 104_857, 838_860, 1_048_576]);
    }

    #[test]
    fn quotas_follow_the_capacity_unless_they_are_given() {
        let quota = |capacity| {
            let Quota { flows, half_open } = FlowOptions::default().quota(capacity);
            (flows, half_open)
        };
        assert_eq!(quota(1 << 20), (131_072, 16_384));
        assert_eq!(quota(1 << 17), (16_384, 2_048));
        assert_eq!(quota(4_000), (1_024, 256));
        assert_eq!(quota(100), (100, 100));
        let given = FlowOptions {
            per_pod: NonZeroU32::new(7),
            half_open_per_pod: NonZeroU32::new(u32::MAX),
            ..FlowOptions::default()
        };
        assert_eq!(given.quota(100), Quota { flows: 7, half_open: u32::MAX });
    }
}
