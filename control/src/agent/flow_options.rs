//! What the flow table is made from: what an operator says, and what the rest follows from.

use std::num::NonZeroU32;

use podgate_flowtable::Quota;

/// What an operator can say of the flow table.
#[derive(Clone, Debug)]
pub struct FlowOptions {
    /// Flows that can be tracked at once.
    pub capacity: usize,
    /// Flows that one pod may open, and as many that may come to it; an eighth of the capacity
    /// where `None`.
    pub per_pod: Option<NonZeroU32>,
    /// Of these, half-open and unanswered ones; a sixty-fourth of the capacity where `None`.
    pub half_open_per_pod: Option<NonZeroU32>,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self { capacity: 1 << 17, per_pod: None, half_open_per_pod: None }
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
