//! Flows as bytes, to be carried over a restart.
//!
//! | bytes | holds (little endian) |
//! |---|---|
//! | 0, 16 | addresses of the originator and of the other end |
//! | 32, 34 | their ports |
//! | 36, 37, 38 | protocol, state, bits: assured, bridge |
//! | 39 | 0 |
//! | 40, 42, 44 | owner; the tracker's marks |
//! | 46 | 0 |
//! | 48, 56 | when it opened and when it had its last packet, in nanoseconds |
//! | 64, 80 | packets and bytes: original, reply |
//! | 96 | the tracker's words |
//! | 120, 124 | why the egress side and the ingress side allowed it |
//! | 128, 144 | what the originator calls the other end, if it does: address, port |
//! | 146 | the originator's own port then |
//! | 148 | 0 |
//!
//! [`EXPORT_FORMAT`] changes with this table, with the numbers of states and with what trackers
//! keep. The epoch is left out: it is a number of the table's own gateway.

use thiserror::Error;

use crate::bucket::WAYS;
use crate::entry::{Alias, Clock, Memory, Record};
use crate::key::Key;
use crate::stats::bump;
use crate::table::FlowTable;
use crate::tcp;
use crate::timeout::{tick, tick_start};
use crate::{
    Addr, Assurance, Decision, Epoch, FlowId, FlowState, IpProtocol, OpenError, Target, Time, Tuple, Way,
};

/// Says how exported flows are to be read.
pub const EXPORT_FORMAT: u32 = 5;

/// Bytes of an exported flow.
pub const EXPORT_LEN_BYTES: usize = 152;

const ASSURED: u8 = 1;
const BRIDGE: u8 = 2;
const CALLED: u8 = 4;

/// A flow on its way from one table to another on the same clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportedFlow {
    original: Tuple,
    state: FlowState,
    assurance: Assurance,
    /// Why it was allowed, as its own gateway numbers it: whoever takes the flow in elsewhere puts in
    /// what that means there. The epoch is 0 after [`ExportedFlow::from_bytes`].
    pub decision: Decision,
    opened: Time,
    last_seen: Time,
    packets: [u64; 2],
    bytes: [u64; 2],
    memory: Memory,
    /// What the originator calls the other end, and its own port.
    called: Option<(Target, u16)>,
}

/// Why a flow was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ImportError {
    /// It has been silent for too long.
    #[error("it has expired")]
    Expired,
    /// There is such a flow already.
    #[error("flow {0} is there already")]
    Exists(FlowId),
    /// There is no room, and nothing in its place to give up.
    #[error("the flow table is full")]
    Full,
}

/// Bytes that are no flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MalformedFlow {
    /// No state has that number, or not of that protocol.
    #[error("no flow of protocol {protocol} is in state {state}")]
    State {
        /// The protocol.
        protocol: u8,
        /// The state's number.
        state: u8,
    },
    /// A field has a value that it cannot have.
    #[error("a reserved field is not zero")]
    Reserved,
    /// It had its last packet before it opened.
    #[error("its times are out of order")]
    Times,
}

impl FlowTable {
    /// Every flow but those that policy has cut, each consistent in itself.
    pub fn export(&self) -> impl Iterator<Item = ExportedFlow> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| {
            let (generation, record) =
                entry.snapshot().filter(|(_, record)| record.clock.state != FlowState::Denied)?;
            let id = FlowId::new(slot, generation);
            Some(ExportedFlow {
                original: record.original(),
                state: record.clock.state,
                assurance: record.clock.assurance,
                decision: record.decision,
                opened: tick_start(record.opened),
                last_seen: tick_start(record.clock.last_seen),
                packets: record.packets,
                bytes: record.bytes,
                memory: record.memory,
                called: record
                    .partner
                    .and_then(|partner| self.calling_at(id, partner))
                    .map(|calling| (calling.destination(), calling.source_port)),
            })
        })
    }

    /// Takes in a flow as it was, its decision as it is. It counts for its owner whatever the quota.
    pub fn import(&self, flow: &ExportedFlow, now: Time) -> Result<FlowId, ImportError> {
        let (key, originator) = Key::of(&flow.original);
        let key = if key.needs_asker() { key.asked_by(originator) } else { key };
        // The clock may have been read a moment apart, by another process.
        let last_seen = flow.last_seen.min(now);
        let clock = Clock { last_seen: tick(last_seen), state: flow.state, assurance: flow.assurance };
        let tick_now = tick(now);
        if self.has_expired(clock, tick_now) {
            return Err(ImportError::Expired);
        }
        let place = self.place(&key);
        let lock = self.lock_place(&place);
        if let Some((slot, generation)) = self.locate(&key, &place) {
            return Err(ImportError::Exists(FlowId::new(slot, generation)));
        }
        let Some(slot) = self.room(&place, tick_now, None) else {
            bump(&self.counters.full);
            return Err(ImportError::Full);
        };
        self.quotas.adopt(flow.decision.owner, flow.state);
        let generation = self.entries[slot].fill(&Record {
            key,
            originator,
            decision: flow.decision,
            clock,
            opened: tick(flow.opened.min(last_seen)),
            packets: flow.packets,
            bytes: flow.bytes,
            memory: flow.memory,
            partner: None,
        });
        if let Some(bucket) = lock.of(slot / WAYS) {
            bucket.occupy(slot % WAYS, place.tag);
        }
        bump(&self.counters.opened);
        drop(lock);
        let id = FlowId::new(slot, generation);
        match flow.called {
            None => Ok(id),
            Some(called) => self.import_name(flow, called, id, now),
        }
    }
}

impl FlowTable {
    /// Without its other name a flow is of no use to its originator, so it has both or is not there.
    fn import_name(
        &self,
        flow: &ExportedFlow,
        (called, calling_port): (Target, u16),
        id: FlowId,
        now: Time,
    ) -> Result<FlowId, ImportError> {
        let Target { addr: destination, port: destination_port } = called;
        let calling = Tuple { destination, source_port: calling_port, destination_port, ..flow.original };
        let (key, originator) = Key::of(&calling);
        let (becomes, source_port) = (flow.original.destination(), flow.original.source_port);
        let alias = Alias { key, originator, flow: id, becomes, source_port };
        self.call(&alias, now).map_err(|error| {
            self.remove(id);
            match error {
                OpenError::Exists(other) => ImportError::Exists(other),
                OpenError::Full | OpenError::NotAnOpener(_) | OpenError::Quota(_) => ImportError::Full,
            }
        })
    }
}

impl ExportedFlow {
    /// The tuple of the packets that go as the opening one did, once they are translated.
    pub const fn original(&self) -> &Tuple {
        &self.original
    }

    /// Has packets pass that went on unseen before the flow is taken in again: sequence numbers no longer
    /// refuse any segment of a TCP connection.
    pub fn forget_windows(&mut self) {
        if matches!(self.state, FlowState::Tcp(_)) {
            tcp::forget_windows(&mut self.memory);
        }
    }

    /// The flow as bytes.
    pub fn to_bytes(&self) -> [u8; EXPORT_LEN_BYTES] {
        let mut bytes = [0; EXPORT_LEN_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        let Tuple { source, destination, source_port, destination_port, protocol } = self.original;
        put(&source.bits().to_le_bytes());
        put(&destination.bits().to_le_bytes());
        put(&source_port.to_le_bytes());
        put(&destination_port.to_le_bytes());
        let assured = if self.assurance == Assurance::Assured { ASSURED } else { 0 };
        let Decision { egress, ingress, way, owner, .. } = self.decision;
        let bridge = if way == Way::Bridge { BRIDGE } else { 0 };
        let called = if self.called.is_some() { CALLED } else { 0 };
        put(&[protocol.0, self.state.code(), assured | bridge | called, 0]);
        for half in [owner, self.memory.marks[0], self.memory.marks[1], 0] {
            put(&half.to_le_bytes());
        }
        let times = [self.opened.nanos(), self.last_seen.nanos()];
        for word in times.into_iter().chain(self.packets).chain(self.bytes).chain(self.memory.words) {
            put(&word.to_le_bytes());
        }
        put(&egress.to_le_bytes());
        put(&ingress.to_le_bytes());
        if let Some((Target { addr, port }, calling_port)) = self.called {
            put(&addr.bits().to_le_bytes());
            put(&port.to_le_bytes());
            put(&calling_port.to_le_bytes());
        }
        bytes
    }

    /// Of [`ExportedFlow::to_bytes`].
    pub fn from_bytes(bytes: &[u8; EXPORT_LEN_BYTES]) -> Result<Self, MalformedFlow> {
        let mut rest = Reader(bytes);
        let (source, destination) = (Addr::from_bits(rest.u128()), Addr::from_bits(rest.u128()));
        let (source_port, destination_port) = (rest.u16(), rest.u16());
        let [protocol, state, bits, reserved] = rest.take();
        let (owner, marks) = (rest.u16(), [rest.u16(), rest.u16()]);
        if bits & !(ASSURED | BRIDGE | CALLED) != 0 || reserved != 0 || rest.u16() != 0 {
            return Err(MalformedFlow::Reserved);
        }
        let (opened, last_seen) = (Time::from_nanos(rest.u64()), Time::from_nanos(rest.u64()));
        if last_seen < opened {
            return Err(MalformedFlow::Times);
        }
        let way = if bits & BRIDGE == 0 { Way::Shortcut } else { Way::Bridge };
        let mut flow = Self {
            original: Tuple {
                source,
                destination,
                source_port,
                destination_port,
                protocol: IpProtocol(protocol),
            },
            state: state_of(protocol, state).ok_or(MalformedFlow::State { protocol, state })?,
            assurance: if bits & ASSURED == 0 { Assurance::Tentative } else { Assurance::Assured },
            decision: Decision { epoch: Epoch(0), egress: 0, ingress: 0, way, owner },
            opened,
            last_seen,
            packets: [rest.u64(), rest.u64()],
            bytes: [rest.u64(), rest.u64()],
            memory: Memory { marks, words: [rest.u64(), rest.u64(), rest.u64()] },
            called: None,
        };
        (flow.decision.egress, flow.decision.ingress) = (rest.u32(), rest.u32());
        let called = (Target { addr: Addr::from_bits(rest.u128()), port: rest.u16() }, rest.u16());
        flow.called = (bits & CALLED != 0).then_some(called);
        if rest.0.iter().any(|byte| *byte != 0) || (flow.called.is_none() && called != (Target::default(), 0))
        {
            return Err(MalformedFlow::Reserved);
        }
        Ok(flow)
    }
}

/// The state of that number, if a flow of that protocol can be in it.
fn state_of(protocol: u8, code: u8) -> Option<FlowState> {
    // Numbers beyond the last wrap around: then the state has another number than was asked for.
    let state = FlowState::from_code(code);
    let fits = match state {
        FlowState::Tcp(_) => IpProtocol(protocol) == IpProtocol::TCP,
        FlowState::Udp(_) => IpProtocol(protocol) == IpProtocol::UDP,
        FlowState::Sctp(_) => IpProtocol(protocol) == IpProtocol::SCTP,
        FlowState::Icmp(_) => matches!(IpProtocol(protocol), IpProtocol::ICMP | IpProtocol::ICMPV6),
        FlowState::Other(_) => true,
        FlowState::Denied => false,
    };
    (fits && state.code() == code).then_some(state)
}

/// Reads an array that is as long as all that is read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) =
            self.0.split_first_chunk().map_or(([0; N], &[][..]), |(taken, rest)| (*taken, rest));
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.take())
    }
}

const _: () = assert!(EXPORT_LEN_BYTES == 2 * 16 + 2 * 2 + 4 + 4 * 2 + 9 * 8 + 2 * 4 + 24);
