//! What others see of a flow.

use std::fmt;

use crate::entry::{Generation, Record};
use crate::state::{Assurance, FlowState};
use crate::timeout::{TimeoutTicks, tick_start};
use crate::{Decision, Target, Time, Tuple};

/// Names one flow for as long as it lives. An id outlives its flow harmlessly: it never means the
/// next flow in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(u64);

impl FlowId {
    #[inline]
    pub(crate) fn new(slot: usize, generation: Generation) -> Self {
        Self(u64::from(generation.0) << 32 | slot as u64)
    }

    #[inline]
    pub(crate) const fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    #[inline]
    pub(crate) const fn generation(self) -> Generation {
        Generation((self.0 >> 32) as u32)
    }

    /// The id as a number, for a map outside of this process.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From [`FlowId::to_bits`]; any number is safe, and one that was never an id names no flow.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.slot(), self.generation().0)
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlowId({self})")
    }
}

/// A consistent copy of one flow. Times are rounded down to 1.05 ms (2^20 ns).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowView {
    /// Its id.
    pub id: FlowId,
    /// The tuple of the packets that go as the opening one did, once they are translated.
    pub original: Tuple,
    /// What its originator calls the other end, if that is translated.
    pub called: Option<Target>,
    /// The originator's own port; that of `original` is another where it has several connections from this one.
    pub calling_port: u16,
    /// Where it stands.
    pub state: FlowState,
    /// Whether the table would give it up for a new flow.
    pub assurance: Assurance,
    /// The verdict it opened with, or was last given.
    pub decision: Decision,
    /// When it opened.
    pub opened: Time,
    /// When it last had a packet.
    pub last_seen: Time,
    /// When it will be forgotten if it stays silent.
    pub expires_at: Time,
    /// Packets: original, reply. Counts to 2^48.
    pub packets: [u64; 2],
    /// Bytes of IP packets: original, reply.
    pub bytes: [u64; 2],
}

impl FlowView {
    pub(crate) fn new(id: FlowId, record: &Record, calling: Option<&Tuple>, timeouts: &TimeoutTicks) -> Self {
        let clock = record.clock;
        let timeout = timeouts.of(clock.state, clock.assurance);
        let original = record.original();
        Self {
            id,
            original,
            called: calling.map(Tuple::destination),
            calling_port: calling.unwrap_or(&original).source_port,
            state: clock.state,
            assurance: clock.assurance,
            decision: record.decision,
            opened: tick_start(record.opened),
            last_seen: tick_start(clock.last_seen),
            expires_at: tick_start(
                (clock.last_seen + timeout + 1).min(u64::MAX >> crate::timeout::TICK_BITS),
            ),
            packets: record.packets,
            bytes: record.bytes,
        }
    }
}

impl Record {
    pub(crate) fn original(&self) -> Tuple {
        self.key.tuple(self.originator)
    }
}
