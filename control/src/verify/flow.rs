//! Packet sequences.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::{Action, Address, Transport};

/// One thing in a sequence.
#[derive(Clone, Debug)]
pub enum FlowItem {
    /// A packet, and what must become of it.
    Packet {
        /// The packet.
        pkt: FlowPacket,
        /// What must become of it.
        expect: FlowVerdict,
    },
    /// A change.
    Change {
        /// The change.
        action: Action,
    },
}

/// A packet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowPacket {
    /// Who.
    pub from: Address,
    /// To whom.
    pub to: Address,
    /// By what: TCP or UDP.
    pub protocol: FlowProtocol,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flags by name, joined by `|`, `,` or `+`.
    #[serde(default)]
    pub flags: Flags,
}

/// What a sequence is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FlowProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// TCP flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Flags {
    /// SYN.
    pub syn: bool,
    /// ACK.
    pub ack: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
}

/// A text that names no flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag:?} is no TCP flag; use SYN, ACK, FIN and RST, joined by a comma")]
pub struct FlagError {
    /// What is none.
    pub flag: String,
}

/// What must become of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged, expecting = "expect is forward, drop or {lenient: .., strict: ..} of these")]
pub enum FlowVerdict {
    /// Whatever the switches.
    Always(Forwarding),
    /// Depending on whether live connections are decided again when policy changes.
    Depends(Modes),
}

/// What must become of a packet in each mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modes {
    /// A connection is judged when it is set up only.
    pub lenient: Forwarding,
    /// Live connections are judged again.
    pub strict: Forwarding,
}

/// Forwarded or dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// Forwarded.
    Forward,
    /// Dropped.
    Drop,
}

impl FlowProtocol {
    /// As a probe knows it.
    pub fn transport(self) -> Transport {
        match self {
            Self::Tcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }
}

impl Flags {
    /// What asks for a connection.
    pub const SYN: Self = Self { syn: true, ack: false, fin: false, rst: false };
    /// What grants it.
    pub const SYN_ACK: Self = Self { ack: true, ..Self::SYN };
    /// What goes on with one.
    pub const ACK: Self = Self { syn: false, ..Self::SYN_ACK };
}

impl FromStr for Flags {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        for flag in text.split(['|', ',', '+']).map(str::trim) {
            *match flag {
                "SYN" => &mut flags.syn,
                "ACK" => &mut flags.ack,
                "FIN" => &mut flags.fin,
                "RST" => &mut flags.rst,
                _ => return Err(FlagError { flag: flag.to_owned() }),
            } = true;
        }
        Ok(flags)
    }
}

impl TryFrom<String> for Flags {
    type Error = FlagError;

    fn try_from(text: String) -> Result<Self, FlagError> {
        text.parse()
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.syn, "SYN"), (self.ack, "ACK"), (self.fin, "FIN"), (self.rst, "RST")];
        let set: Vec<&str> = all.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect();
        f.write_str(&set.join(","))
    }
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Drop => "drop",
        })
    }
}

impl FlowVerdict {
    /// What must become of the packet if live connections are judged again, or not.
    pub fn forwarding(self, rechecks: bool) -> Forwarding {
        match self {
            Self::Always(forwarding) => forwarding,
            Self::Depends(modes) if rechecks => modes.strict,
            Self::Depends(modes) => modes.lenient,
        }
    }
}

/// As it is written: an untagged enum would let unknown fields pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    pkt: Option<FlowPacket>,
    expect: Option<FlowVerdict>,
    action: Option<Action>,
}

impl<'de> Deserialize<'de> for FlowItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written { pkt: Some(pkt), expect: Some(expect), action: None } => {
                Ok(Self::Packet { pkt, expect })
            }
            Written { pkt: None, expect: None, action: Some(action) } => Ok(Self::Change { action }),
            _ => Err(serde::de::Error::custom(
                "an item of a sequence is a packet (pkt and expect) or a change (action)",
            )),
        }
    }
}

/// Sequences leave out the answer to a SYN where the connection goes on without trouble. A segment
/// that acknowledges nothing is no part of a connection, so the answer is put in. Each item with
/// its place in what is written; what is put in has none.
pub fn with_answers(sequence: &[FlowItem]) -> Vec<(Option<usize>, FlowItem)> {
    let mut all = Vec::new();
    for (at, item) in sequence.iter().enumerate() {
        all.push((Some(at), item.clone()));
        let FlowItem::Packet { pkt, expect: FlowVerdict::Always(Forwarding::Forward) } = item else {
            continue;
        };
        let mut later = sequence[at + 1..].iter().filter_map(|item| match item {
            FlowItem::Packet { pkt: later, .. } if is_of_one_connection(pkt, later) => Some(later),
            _ => None,
        });
        let is_left_out = later.next().is_some_and(|next| next.flags == Flags::ACK);
        if pkt.flags == Flags::SYN && is_left_out {
            let answer = FlowPacket {
                from: pkt.to.clone(),
                to: pkt.from.clone(),
                sport: pkt.dport,
                dport: pkt.sport,
                flags: Flags::SYN_ACK,
                ..*pkt
            };
            let expect = FlowVerdict::Always(Forwarding::Forward);
            all.push((None, FlowItem::Packet { pkt: answer, expect }));
        }
    }
    all
}

fn is_of_one_connection(one: &FlowPacket, other: &FlowPacket) -> bool {
    let ends = |packet: &FlowPacket| {
        let mut ends = [(packet.from.clone(), packet.sport), (packet.to.clone(), packet.dport)];
        ends.sort();
        ends
    };
    one.protocol == other.protocol && ends(one) == ends(other)
}
