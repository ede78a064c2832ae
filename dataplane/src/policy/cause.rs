//! Why one side (egress of the source, ingress of the destination) allowed or denied.

/// Index of a rule in the snapshot's names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub u32);

/// Why a side decided as it did. Fits in 32 bits for the flow table, see [`Cause::code`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// This end is not a pod of this node: its own node decides.
    NotLocal,
    /// No policy isolates the pod in this direction.
    NotIsolated,
    /// Traffic from the pod's own node is always allowed in (kubelet probes); out to it where the operator
    /// has switched that on.
    OwnNode,
    /// A pod may always reach itself.
    Itself,
    /// This rule allows it.
    Rule(RuleId),
    /// Isolated, and no rule allows it.
    DefaultDeny,
    /// The other side had already denied.
    NotReached,
    /// A rule of a gateway before this one allowed it. Rules are numbered by snapshot, so that which
    /// one it was is no longer known.
    Carried,
}

impl Cause {
    const FIRST_RULE: u32 = 16;

    /// Whether this cause allows.
    pub const fn allows(self) -> bool {
        !matches!(self, Self::DefaultDeny | Self::NotReached)
    }

    /// As a number, for [`podgate_flowtable::Decision`].
    pub const fn code(self) -> u32 {
        match self {
            Self::NotLocal => 0,
            Self::NotIsolated => 1,
            Self::OwnNode => 2,
            Self::Itself => 3,
            Self::DefaultDeny => 4,
            Self::NotReached => 5,
            Self::Carried => 6,
            Self::Rule(RuleId(id)) => Self::FIRST_RULE + id,
        }
    }

    /// From [`Cause::code`].
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::NotLocal,
            1 => Self::NotIsolated,
            2 => Self::OwnNode,
            3 => Self::Itself,
            4 => Self::DefaultDeny,
            5 => Self::NotReached,
            6 => Self::Carried,
            7..Self::FIRST_RULE => return None,
            rule => Self::Rule(RuleId(rule - Self::FIRST_RULE)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for cause in [
            Cause::NotLocal,
            Cause::NotIsolated,
            Cause::OwnNode,
            Cause::Itself,
            Cause::DefaultDeny,
            Cause::NotReached,
            Cause::Carried,
            Cause::Rule(RuleId(0)),
            Cause::Rule(RuleId(1_000_000)),
        ] {
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
        assert_eq!(Cause::from_code(9), None);
    }
}
