//! Packet sequences.

use serde::Deserialize;

use super::{Action, Address, Transport};

/// One thing in a sequence.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
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
    /// By what.
    pub protocol: Transport,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flags by name, joined by `|`, `,` or `+`.
    pub flags: Option<String>,
}

/// What must become of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
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
