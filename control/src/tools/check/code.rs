//! What findings are called, and how bad they are.

use annotate_snippets::Level as Annotated;
use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// What a finding is called. Numbers are never given anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Code(usize);

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing; it may well be meant.
    Info,
    /// Probably a mistake.
    Warning,
    /// It cannot do what it says.
    Error,
}

/// Code and name of each finding, in order.
const ALL: [(&str, &str); 20] = [
    ("PG000", "invalid-manifest"),
    ("PG001", "egress-without-dns"),
    ("PG002", "dns-without-tcp"),
    ("PG003", "selects-no-pod"),
    ("PG004", "peer-matches-no-pod"),
    ("PG005", "peer-matches-no-namespace"),
    ("PG006", "one-item-or-two"),
    ("PG007", "selects-host-network"),
    ("PG008", "namespace-open"),
    ("PG009", "pods-left-open"),
    ("PG010", "port-not-declared"),
    ("PG011", "named-port-missing"),
    ("PG012", "named-port-unknown"),
    ("PG013", "block-covers-cluster"),
    ("PG014", "egress-to-anywhere"),
    ("PG015", "section-ignored"),
    ("PG016", "empty-section-ignored"),
    ("PG017", "adds-nothing"),
    ("PG018", "needless-suppression"),
    ("PG019", "block-of-service"),
];

impl Code {
    /// The manifest is refused.
    pub const INVALID: Self = Self(0);
    /// Egress is isolated, and DNS is not allowed.
    pub const EGRESS_WITHOUT_DNS: Self = Self(1);
    /// DNS is allowed over UDP and not over TCP.
    pub const DNS_WITHOUT_TCP: Self = Self(2);
    /// A policy selects no pod.
    pub const SELECTS_NO_POD: Self = Self(3);
    /// A peer matches no pod.
    pub const PEER_NO_POD: Self = Self(4);
    /// A peer's namespace selector matches no namespace.
    pub const PEER_NO_NAMESPACE: Self = Self(5);
    /// Two selectors stand in one item, or in two, and it makes a difference.
    pub const ONE_ITEM_OR_TWO: Self = Self(6);
    /// A policy selects pods on their node's network.
    pub const HOST_NETWORK: Self = Self(7);
    /// No pod of a namespace is isolated.
    pub const NAMESPACE_OPEN: Self = Self(8);
    /// Some pods of a namespace are isolated and others are not.
    pub const PODS_OPEN: Self = Self(9);
    /// A port that no pod concerned declares.
    pub const PORT_NOT_DECLARED: Self = Self(10);
    /// A port's name that some of the pods concerned do not have.
    pub const NAMED_PORT_MISSING: Self = Self(11);
    /// A port's name that none of the pods concerned has.
    pub const NAMED_PORT_UNKNOWN: Self = Self(12);
    /// An ipBlock that covers pods or Services.
    pub const BLOCK_COVERS_CLUSTER: Self = Self(13);
    /// Egress to every address.
    pub const EGRESS_ANYWHERE: Self = Self(14);
    /// A section with rules that `policyTypes` leaves out.
    pub const SECTION_IGNORED: Self = Self(15);
    /// An empty section that denies nothing, for `policyTypes` leaves it out.
    pub const EMPTY_SECTION: Self = Self(16);
    /// A policy without which all would be the same.
    pub const ADDS_NOTHING: Self = Self(17);
    /// A suppression of what is not found.
    pub const NEEDLESS_SUPPRESSION: Self = Self(18);
    /// An ipBlock that covers a Service and none of the pods behind it.
    pub const BLOCK_OF_SERVICE: Self = Self(19);

    /// `PG001`.
    pub fn id(self) -> &'static str {
        ALL[self.0].0
    }

    /// `egress-without-dns`.
    pub fn name(self) -> &'static str {
        ALL[self.0].1
    }

    /// From [`Code::id`].
    pub fn from_id(id: &str) -> Option<Self> {
        ALL.iter().position(|(known, _)| *known == id).map(Self)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ALL.len()).map(Self)
    }
}

impl Level {
    /// As reports have it.
    pub(super) fn annotated(self) -> Annotated<'static> {
        match self {
            Self::Info => Annotated::INFO,
            Self::Warning => Annotated::WARNING,
            Self::Error => Annotated::ERROR,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_as_they_stand() {
        for (number, code) in Code::all().enumerate() {
            assert_eq!(code.id(), format!("PG{number:03}"));
            assert_eq!(Code::from_id(code.id()), Some(code));
        }
        assert_eq!(Code::BLOCK_OF_SERVICE, Code::all().last().unwrap());
        assert_eq!(Code::from_id("PG999"), None);
    }
}
