//! Which port: by number or by name.

use std::fmt;
use std::str::FromStr;

use podgate_flowtable::IpProtocol;

use super::super::words;
use super::End;
use crate::model::{Cluster, ContainerPort, Pod, Protocol};

/// A destination port as it is asked for: `80/TCP`, `80`, `http`, `dns/UDP`, `icmp`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortQuery {
    /// By number.
    Number(Protocol, u16),
    /// By the name it has on the destination pod; any protocol if none is given.
    Name(Option<Protocol>, String),
    /// ICMP, of the family that the addresses have.
    Icmp,
}

/// A port that cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a port.
    #[error(
        "{text:?} is no port: write 80/TCP, 53/UDP, a port's name or icmp; protocols are TCP, UDP and SCTP"
    )]
    Syntax {
        /// What was written.
        text: String,
    },
    /// The destination has no such port.
    #[error("{to} has no port named {name}: {reason}")]
    NoSuchName {
        /// The destination.
        to: String,
        /// The port's name.
        name: String,
        /// What it has.
        reason: String,
    },
    /// The name stands for several ports.
    #[error("{name} is more than one port of {to}: ask for one of {ports}")]
    Ambiguous {
        /// The destination.
        to: String,
        /// The port's name.
        name: String,
        /// The ports.
        ports: String,
    },
}

impl PortQuery {
    /// What it stands for at a destination: a name may stand for several ports, or none.
    pub(crate) fn at(&self, pod: Option<&Pod>, is_v4: bool) -> Vec<(IpProtocol, u16)> {
        match self {
            Self::Number(protocol, port) => vec![(ip_protocol(*protocol), *port)],
            Self::Icmp if is_v4 => vec![(IpProtocol::ICMP, 0)],
            Self::Icmp => vec![(IpProtocol::ICMPV6, 0)],
            Self::Name(protocol, name) => {
                let ports = pod.map_or(&[][..], |pod| &pod.ports).iter();
                let is_it = |port: &&ContainerPort| {
                    port.name.as_ref() == Some(name) && protocol.is_none_or(|known| port.protocol == known)
                };
                let mut found: Vec<(Protocol, u16)> =
                    ports.filter(is_it).map(|port| (port.protocol, port.port)).collect();
                found.sort_unstable();
                found.dedup();
                found.into_iter().map(|(protocol, port)| (ip_protocol(protocol), port)).collect()
            }
        }
    }

    /// Protocol and number at a destination.
    pub(super) fn resolve(&self, cluster: &Cluster, to: &End) -> Result<(IpProtocol, u16), PortError> {
        let pod = to.pod(cluster);
        let (to, is_v4) = (to.title(), to.address.is_ipv4());
        match &self.at(pod, is_v4)[..] {
            [one] => Ok(*one),
            [] => {
                let reason = pod.map_or_else(
                    || "only pods have named ports".to_owned(),
                    |pod| format!("it declares {}", declared(pod)),
                );
                Err(PortError::NoSuchName { to, name: self.to_string(), reason })
            }
            several => {
                let port =
                    |(protocol, port): &(IpProtocol, u16)| format!("{port}/{}", words::protocol(*protocol));
                let ports: Vec<String> = several.iter().map(port).collect();
                Err(PortError::Ambiguous { to, name: self.to_string(), ports: ports.join(", ") })
            }
        }
    }
}

/// The ports that a pod declares, in words.
pub(crate) fn declared(pod: &Pod) -> String {
    let port = |port: &ContainerPort| match &port.name {
        Some(name) => format!("{}/{} ({name})", port.port, port.protocol),
        None => format!("{}/{}", port.port, port.protocol),
    };
    match &pod.ports[..] {
        [] => "no port".to_owned(),
        ports => ports.iter().map(port).collect::<Vec<_>>().join(", "),
    }
}

/// The number on the wire.
pub(crate) fn ip_protocol(protocol: Protocol) -> IpProtocol {
    match protocol {
        Protocol::Tcp => IpProtocol::TCP,
        Protocol::Udp => IpProtocol::UDP,
        Protocol::Sctp => IpProtocol::SCTP,
    }
}

/// The protocol as policy knows it, if it does.
pub(crate) fn policy_protocol(protocol: IpProtocol) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|known| ip_protocol(*known) == protocol)
}

impl FromStr for PortQuery {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let wrong = || PortError::Syntax { text: text.to_owned() };
        if text.eq_ignore_ascii_case("icmp") {
            return Ok(Self::Icmp);
        }
        let (port, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((port, protocol)) => {
                let known = Protocol::from_name(&protocol.to_ascii_uppercase());
                (port, Some(known.ok_or_else(wrong)?))
            }
        };
        if port.is_empty() {
            return Err(wrong());
        }
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = port.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
            return Ok(Self::Number(protocol.unwrap_or_default(), number));
        }
        let is_name = port.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_name.then(|| Self::Name(protocol, port.to_owned())).ok_or_else(wrong)
    }
}

impl fmt::Display for PortQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(protocol, port) => write!(f, "{port}/{protocol}"),
            Self::Name(Some(protocol), name) => write!(f, "{name}/{protocol}"),
            Self::Name(None, name) => f.write_str(name),
            Self::Icmp => f.write_str("ICMP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<PortQuery>().ok();
        assert_eq!(read("80"), Some(PortQuery::Number(Protocol::Tcp, 80)));
        assert_eq!(read("53/udp"), Some(PortQuery::Number(Protocol::Udp, 53)));
        assert_eq!(read("http"), Some(PortQuery::Name(None, "http".to_owned())));
        assert_eq!(read("dns/UDP"), Some(PortQuery::Name(Some(Protocol::Udp), "dns".to_owned())));
        assert_eq!(read("ICMP"), Some(PortQuery::Icmp));
        for bad in ["", "0", "65536", "80/ICMP", "/TCP", "80:90", "a b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
