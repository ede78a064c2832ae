//! The versions of the specification that podgate-cni speaks.

use super::{CniError, Code};

/// A version of the specification. Those before 0.3.0 hand no result from plugin to plugin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// Results are handed on, with interfaces.
    V0_3_0,
    /// As 0.3.0, a mistake in the text mended.
    V0_3_1,
    /// CHECK; DEL is told the result too.
    V0_4_0,
    /// Addresses no longer say their family.
    V1_0_0,
    /// STATUS and GC.
    V1_1_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As configurations write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// From a configuration's `cniVersion`; absent is 0.1.0 there.
    pub fn from_field(field: Option<&str>) -> Result<Self, CniError> {
        let asked = field.unwrap_or("0.1.0");
        Self::ALL.into_iter().find(|version| version.name() == asked).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            let message = format!(
                "the network configuration is of CNI version {asked:?} (\"cniVersion\"); podgate-cni speaks {known}"
            );
            CniError::new(Code::IncompatibleVersion, message)
        })
    }
}
