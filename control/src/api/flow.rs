//! Flows as they are told, and which are wanted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use podgate_flowtable::{FlowId, FlowView, IpProtocol};
use serde::{Deserialize, Serialize};

/// One tracked flow. *Sent* is what went as its first packet did, *returned* what came back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Names the flow as long as it lives.
    pub id: String,
    /// Who opened it: `namespace/pod`, `node:name` or the address.
    pub source: String,
    /// The opener's address.
    pub source_ip: String,
    /// The opener's port; the identifier for ICMP, 0 where the protocol has none.
    pub source_port: u16,
    /// As `source`, of the other end.
    pub destination: String,
    /// The other end's address.
    pub destination_ip: String,
    /// The other end's port.
    pub destination_port: u16,
    /// The address and port that the opener calls the other end by, where those are translated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<SocketAddr>,
    /// `namespace/name` of the Service that this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or the number.
    pub protocol: String,
    /// Where it stands, in the words of conntrack.
    pub state: String,
    /// Whether both ends have shown that they want it; such a flow never makes way for a new one.
    pub assured: bool,
    /// Seconds since it opened.
    pub age_seconds: f64,
    /// Seconds since its last packet.
    pub idle_seconds: f64,
    /// Seconds until it is forgotten if it stays silent.
    pub expires_seconds: f64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Bytes of IP packets sent.
    pub bytes_sent: u64,
    /// Packets returned.
    pub packets_returned: u64,
    /// Bytes of IP packets returned.
    pub bytes_returned: u64,
    /// Why it is allowed: `policy`, `not-isolated`, `own-node`, `itself`. For a flow from before a
    /// restart: `unjudged` until it is judged again, `carried` where it never is
    /// (`--live-connections keep`).
    pub reason: String,
    /// Why the source's egress side allows it.
    pub egress: String,
    /// Why the destination's ingress side allows it.
    pub ingress: String,
    /// The policies that allow it.
    pub policies: Vec<String>,
    /// The rules that allow it, as `namespace/name ingress[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `shortcut`: straight from pod to pod; `bridge`: through the bridge, as without a gateway.
    pub way: String,
    /// The port at which it was first seen, by device; absent if that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The snapshot that decided it last.
    pub epoch: u32,
}

/// Which flows are wanted: those that fit all that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowFilter {
    /// The flow of this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<FlowNumber>,
    /// This pod (`namespace/name`) at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// This address at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// This port at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// This protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// This state, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Not more than this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What a flush has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Flushed {
    /// Flows that are forgotten.
    pub removed: u64,
}

/// Every word for a state that a flow can be in.
pub const STATES: &[&str] = &[
    "SYN_SENT",
    "SYN_SENT2",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "UNREPLIED",
    "REPLIED",
    "ASSURED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "CLOSED",
    "DENIED",
];

impl FlowFilter {
    /// Whether it lets every flow through, however many.
    pub fn is_open(&self) -> bool {
        Self { limit: None, ..self.clone() } == Self::default()
    }

    /// Whether `view` fits all but the pod, for which names are needed.
    pub fn admits(&self, view: &FlowView) -> bool {
        let tuple = &view.original;
        self.id.is_none_or(|id| id.0 == view.id)
            && self.protocol.is_none_or(|protocol| protocol.0 == tuple.protocol)
            && self.port.is_none_or(|port| port == tuple.source_port || port == tuple.destination_port)
            && self.address.is_none_or(|address| {
                let address = address.into();
                tuple.source == address || tuple.destination == address
            })
            && self.state.as_deref().is_none_or(|state| state.eq_ignore_ascii_case(view.state.name()))
    }

    /// The filter as a query.
    pub(super) fn query(&self) -> String {
        let mut query = Vec::new();
        let mut add = |key: &str, value: Option<String>| {
            query.extend(value.map(|value| format!("{key}={}", super::client::escape(&value))));
        };
        add("id", self.id.map(|id| id.to_string()));
        add("pod", self.pod.clone());
        add("address", self.address.map(|address| address.to_string()));
        add("port", self.port.map(|port| port.to_string()));
        add("protocol", self.protocol.map(|protocol| protocol.to_string()));
        add("state", self.state.clone());
        add("limit", self.limit.map(|limit| limit.to_string()));
        query.join("&")
    }
}

/// A text that names nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct NotOne {
    text: String,
    what: &'static str,
}

macro_rules! written {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NotOne;

            fn try_from(text: String) -> Result<Self, NotOne> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// A flow's id, as `podgate flows list` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FlowNumber(pub FlowId);

impl FromStr for FlowNumber {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let hexadecimal = |part| u32::from_str_radix(part, 16).ok();
        let parts = text.split_once('.').and_then(|(slot, generation)| {
            Some(u64::from(hexadecimal(generation)?) << 32 | u64::from(hexadecimal(slot)?))
        });
        let what = "id of a flow; 'podgate flows list' shows them";
        parts.map(|bits| Self(FlowId::from_bits(bits))).ok_or_else(|| NotOne { text: text.into(), what })
    }
}

impl fmt::Display for FlowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written!(FlowNumber);

/// A protocol by name or number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProtocolName(pub IpProtocol);

const PROTOCOLS: [(&str, IpProtocol); 5] = [
    ("TCP", IpProtocol::TCP),
    ("UDP", IpProtocol::UDP),
    ("SCTP", IpProtocol::SCTP),
    ("ICMP", IpProtocol::ICMP),
    ("ICMPv6", IpProtocol::ICMPV6),
];

impl FromStr for ProtocolName {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let named = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let found = named.map(|(_, protocol)| *protocol).or_else(|| text.parse().ok().map(IpProtocol));
        let what = "protocol: use TCP, UDP, SCTP, ICMP, ICMPv6 or a number up to 255";
        found.map(Self).ok_or_else(|| NotOne { text: text.into(), what })
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, protocol)| *protocol == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0.0),
        }
    }
}

written!(ProtocolName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for text in ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "47"] {
            assert_eq!(text.parse::<ProtocolName>().unwrap().to_string(), text);
        }
        assert_eq!("tcp".parse::<ProtocolName>(), Ok(ProtocolName(IpProtocol::TCP)));
        for text in ["", "256", "-1", "gre"] {
            assert!(text.parse::<ProtocolName>().is_err(), "{text}");
        }
        let id = FlowNumber(FlowId::from_bits(0x0000_0003_0000_001c));
        assert_eq!((id.to_string(), "1c.3".parse()), ("1c.3".to_owned(), Ok(id)));
        for text in ["", "1c", "1c.", "x.1", "1.2.3", "111111111.1"] {
            assert!(text.parse::<FlowNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_filter_says_what_it_lets_through() {
        assert!(FlowFilter { limit: Some(1), ..FlowFilter::default() }.is_open());
        assert!(!FlowFilter { port: Some(1), ..FlowFilter::default() }.is_open());
        let filter = FlowFilter {
            pod: Some("shop/db".into()),
            address: Some("fd44::1".parse().unwrap()),
            protocol: Some(ProtocolName(IpProtocol::TCP)),
            limit: Some(3),
            ..FlowFilter::default()
        };
        assert_eq!(filter.query(), "pod=shop/db&address=fd44%3A%3A1&protocol=TCP&limit=3");
    }
}
