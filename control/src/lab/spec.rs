//! What a lab is asked to be.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DEFAULT_DIRECTORY, LabError};

/// A pod to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses. With none, it gets one of each family from the lab's own subnets.
    pub addresses: Vec<IpAddr>,
    /// The ports its responder answers on. SCTP ones are taken note of only: kernels often have none.
    pub ports: Vec<ListenPort>,
    /// The MTU of its device, if not the lab's.
    pub mtu: Option<u32>,
    /// Whether it serves DNS, if the lab has any: port 53 is then not the responder's.
    pub serves_dns: bool,
}

/// A host outside the cluster to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalSpec {
    /// Its name.
    pub name: String,
    /// Its addresses; at least one.
    pub addresses: Vec<IpAddr>,
    /// The ports its responder answers on.
    pub ports: Vec<ListenPort>,
    /// How it is reached.
    pub attachment: Attachment,
}

/// How a host outside the cluster is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attachment {
    /// Behind the node, which routes to it.
    Routed,
    /// On the pods' bridge, as the node's uplink would be: a port that is no pod's.
    Bridged,
}

/// A port that a responder answers on; written `80/TCP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ListenPort {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What a lab is made with besides its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabOptions {
    /// Where labs are recorded, one directory each.
    pub directory: PathBuf,
    /// Hosts outside the cluster.
    pub externals: Vec<ExternalSpec>,
    /// Addresses that the node has on the bridge besides those that the lab chooses for it.
    pub node_addresses: Vec<IpAddr>,
    /// The MTU of the bridge and of pods that ask for none, in bytes.
    pub mtu: u32,
    /// Who answers on the pods' ports.
    pub responders: Responders,
    /// Where programs in pods ask for names; without any, they ask where the machine's own do.
    pub nameservers: Vec<IpAddr>,
}

/// Who answers on the pods' ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Responders {
    /// This program, as `podgate responder`.
    Own,
    /// The podgate program at that path.
    Program(PathBuf),
    /// Nobody.
    None,
}

impl PodSpec {
    /// A pod whose addresses the lab chooses, with no ports.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let (namespace, name) = (namespace.into(), name.into());
        Self { namespace, name, addresses: Vec::new(), ports: Vec::new(), mtu: None, serves_dns: false }
    }

    /// `NAMESPACE/NAME`.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            directory: DEFAULT_DIRECTORY.into(),
            externals: Vec::new(),
            node_addresses: Vec::new(),
            mtu: 1500,
            responders: Responders::Own,
            nameservers: Vec::new(),
        }
    }
}

impl fmt::Display for ListenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl FromStr for ListenPort {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let bad = || LabError::BadPort { text: text.into() };
        let (port, protocol) = text.split_once('/').ok_or_else(bad)?;
        let protocol = match protocol.to_ascii_uppercase().as_str() {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => return Err(bad()),
        };
        match port.parse() {
            Ok(0) | Err(_) => Err(bad()),
            Ok(port) => Ok(Self { port, protocol }),
        }
    }
}

impl From<ListenPort> for String {
    fn from(port: ListenPort) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for ListenPort {
    type Error = LabError;

    fn try_from(text: String) -> Result<Self, LabError> {
        text.parse()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        for text in ["80/TCP", "53/UDP", "7/SCTP"] {
            assert_eq!(text.parse::<ListenPort>().expect("a port").to_string(), text);
        }
        assert_eq!("80/tcp".parse::<ListenPort>().expect("a port").to_string(), "80/TCP");
        for text in ["", "80", "0/TCP", "70000/TCP", "80/ICMP", "/TCP", "80/"] {
            assert!(matches!(text.parse::<ListenPort>(), Err(LabError::BadPort { .. })), "{text}");
        }
    }
}
