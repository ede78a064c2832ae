//! The ends of a probe.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::model::ObjectKey;
use serde::Deserialize;

/// One end of a probe.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    /// `x/a`: a pod; a hostNetwork pod is reached at its node.
    Pod(ObjectKey),
    /// `node:n1`.
    Node(String),
    /// `ext:internet`: a host outside the cluster.
    External(String),
    /// `ip:1.2.3.4`: whoever has it.
    Ip(IpAddr),
    /// `svc:y/web`: judged at each backend.
    Service(ObjectKey),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither ns/pod nor node:, ext:, ip: or svc: and a name")]
pub struct AddressError {
    /// The text.
    pub text: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError { text: text.to_owned() };
        match text.split_once(':') {
            Some(("node", name)) => Ok(Self::Node(name.to_owned())),
            Some(("ext", name)) => Ok(Self::External(name.to_owned())),
            Some(("ip", address)) => address.parse().map(Self::Ip).map_err(|_| wrong()),
            Some(("svc", key)) => key.parse().map(Self::Service).map_err(|_| wrong()),
            _ => text.parse().map(Self::Pod).map_err(|_| wrong()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "{key}"),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::External(name) => write!(f, "ext:{name}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Service(key) => write!(f, "svc:{key}"),
        }
    }
}

/// Which of the addresses of both ends is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
pub enum Family {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::IPv4 } else { Self::IPv6 }
    }

    /// Whether `address` is of this family.
    pub fn holds(self, address: IpAddr) -> bool {
        (self == Self::IPv4) == address.is_ipv4()
    }
}
