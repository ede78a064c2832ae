//! The table against the simplest thing that could be right: a map and a few rules.
#![allow(missing_docs)]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::*;
use podgate_flowtable::{
    Config, Decision, Direction, ExpiryCursor, FlowId, FlowTable, Known, OpenError, Packet, Refusal,
    TableStats, Timeouts, Track, Tuple,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const CAPACITY: usize = 6;
const FLOWS: u32 = 10;
/// What a cut is decided by.
const CUT: u32 = 77;

/// What can be sent on a flow; the client is always the same end.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Syn,
    SynAck,
    ClientAck,
    ServerAck,
    ClientRst,
    ServerRst,
    Question,
    Answer,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Track(u32, Kind),
    Open(u32, Kind),
    Remove(u32),
    Cut(u32),
    Redecide(u32),
    Expire,
    Wait(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    SynSent,
    SynRecv,
    Established,
    Close,
    Unreplied,
    Replied,
    Stream,
    Denied,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    id: FlowId,
    original: Tuple,
    state: State,
    decision: Decision,
    opened: u64,
    last_seen: u64,
    packets: [u64; 2],
}

#[derive(Default)]
struct Model {
    flows: HashMap<Tuple, Flow>,
    stats: TableStats,
    now: u64,
    /// Taken up in the middle is only asked for, and never done: what comes of it is TCP's own matter.
    pickup_until: u64,
}

fn timeouts() -> Timeouts {
    let in_ticks = |count| Duration::from_nanos(count * TICK_NANOS);
    Timeouts {
        tcp_syn_sent: in_ticks(20),
        tcp_syn_recv: in_ticks(15),
        tcp_established: in_ticks(100),
        tcp_close: in_ticks(5),
        udp_unreplied: in_ticks(10),
        udp_stream: in_ticks(3000),
        denied: in_ticks(30),
        ..Timeouts::default()
    }
}

fn build(flow: u32, kind: Kind) -> Packet {
    match kind {
        Kind::Syn => tcp(flow, SYN),
        Kind::SynAck => answer(tcp(flow, SYN_ACK)),
        Kind::ClientAck => tcp(flow, ACK),
        Kind::ServerAck => answer(tcp(flow, ACK)),
        Kind::ClientRst => tcp(flow, RST_ACK),
        Kind::ServerRst => answer(tcp(flow, RST_ACK)),
        Kind::Question => udp(flow),
        Kind::Answer => answer(udp(flow)),
    }
}

impl Flow {
    fn timeout(&self) -> u64 {
        match self.state {
            State::SynSent => 20,
            State::SynRecv => 15,
            State::Established => 100,
            State::Close => 5,
            State::Unreplied | State::Replied => 10,
            State::Stream => 3000,
            State::Denied => 30,
        }
    }

    fn name(&self) -> &'static str {
        match self.state {
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::Established => "ESTABLISHED",
            State::Close => "CLOSE",
            State::Unreplied => "UNREPLIED",
            State::Replied => "REPLIED",
            State::Stream => "ASSURED",
            State::Denied => "DENIED",
        }
    }

    fn has_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.last_seen) > self.timeout()
    }

    /// 0 goes first, 1 only after, 2 never.
    fn worth(&self, now: u64) -> u8 {
        match self.state {
            _ if self.has_expired(now) => 0,
            State::SynSent | State::Close | State::Unreplied | State::Denied => 0,
            State::SynRecv | State::Replied => 1,
            State::Established | State::Stream => 2,
        }
    }

    /// The state after a packet; `Err(true)` if it starts another connection.
    fn next(&self, kind: Kind, direction: Direction, now: u64) -> Result<State, bool> {
        use State::*;
        Ok(match (self.state, kind) {
            (Close, Kind::Syn) => return Err(true),
            (SynSent, Kind::ClientAck) => return Err(false),
            (SynSent, Kind::SynAck) => SynRecv,
            (SynRecv, Kind::ClientAck) => Established,
            (SynSent | SynRecv | Established, Kind::ClientRst | Kind::ServerRst) => Close,
            (Unreplied, _) if direction == Direction::Original => Unreplied,
            (Unreplied | Replied, _) if now - self.opened >= in_ticks(Duration::from_secs(2)) => Stream,
            (Unreplied, _) => Replied,
            (state, _) => state,
        })
    }
}

impl Model {
    fn tuple_of(&self, packet: &Packet) -> Option<Tuple> {
        [packet.tuple, packet.tuple.reversed()].into_iter().find(|tuple| self.flows.contains_key(tuple))
    }

    fn forget_if_expired(&mut self, tuple: Option<Tuple>) -> Option<Tuple> {
        let flow = self.flows[&tuple?];
        if flow.has_expired(self.now) {
            self.flows.remove(&tuple?);
            self.stats.expired += 1;
            return None;
        }
        tuple
    }

    fn opens(kind: Kind) -> bool {
        matches!(kind, Kind::Syn | Kind::Question | Kind::Answer)
    }

    fn is_taken_up(&self, kind: Kind) -> bool {
        let is_reset = matches!(kind, Kind::ClientRst | Kind::ServerRst);
        self.now < self.pickup_until && !is_reset
    }

    fn track(&mut self, packet: &Packet, kind: Kind) -> Result<(FlowId, Direction, Decision), Track> {
        let live = self.tuple_of(packet);
        if let Some(tuple) = self.forget_if_expired(live) {
            let now = self.now;
            let flow = self.flows.get_mut(&tuple).unwrap();
            let direction = if packet.tuple == tuple { Direction::Original } else { Direction::Reply };
            if flow.state == State::Denied {
                let &mut Flow { id, original, decision, .. } = flow;
                return Err(Track::Denied(Known::new(id, direction, original, decision)));
            }
            match flow.next(kind, direction, now) {
                Ok(state) => {
                    flow.state = state;
                    flow.last_seen = now;
                    flow.packets[direction.index()] += 1;
                    return Ok((flow.id, direction, flow.decision));
                }
                Err(true) => {
                    self.flows.remove(&tuple);
                    self.stats.reopened += 1;
                }
                Err(false) => return Err(Track::Refused(Refusal::TcpInvalid)),
            }
        }
        Err(if Self::opens(kind) || self.is_taken_up(kind) {
            Track::MayOpen
        } else {
            Track::Refused(Refusal::NoFlow)
        })
    }

    /// Follows the table's answer, having checked that it may be given.
    fn open(&mut self, table: &FlowTable, packet: &Packet, kind: Kind, given: Result<FlowId, OpenError>) {
        if !Self::opens(kind) {
            assert_eq!(given, Err(OpenError::NotAnOpener(Refusal::NoFlow)));
            return;
        }
        let live = self.tuple_of(packet);
        if let Some(tuple) = self.forget_if_expired(live) {
            if self.flows[&tuple].state != State::Denied {
                assert_eq!(given, Err(OpenError::Exists(self.flows[&tuple].id)));
                return;
            }
            self.flows.remove(&tuple);
            self.stats.reopened += 1;
        }
        if self.flows.len() == CAPACITY {
            let least = self.flows.values().map(|flow| flow.worth(self.now)).min().unwrap();
            if least == 2 {
                self.stats.full += 1;
                assert_eq!(given, Err(OpenError::Full));
                return;
            }
            let gone: Vec<_> =
                self.flows.values().filter(|flow| table.find(&flow.original).is_none()).copied().collect();
            assert_eq!(gone.len(), 1);
            assert_eq!(gone[0].worth(self.now), least);
            if gone[0].has_expired(self.now) {
                self.stats.expired += 1;
            } else {
                self.stats.evicted += 1;
            }
            self.flows.remove(&gone[0].original);
        }
        self.stats.opened += 1;
        let flow = Flow {
            id: given.expect("there is room"),
            original: packet.tuple,
            state: if matches!(kind, Kind::Syn) { State::SynSent } else { State::Unreplied },
            decision: decision(self.now as u32),
            opened: self.now,
            last_seen: self.now,
            packets: [1, 0],
        };
        self.flows.insert(packet.tuple, flow);
    }

    fn cut(&mut self, id: FlowId) -> bool {
        let Some(flow) = self.flows.values_mut().find(|flow| flow.id == id) else { return false };
        let is_udp = matches!(flow.state, State::Unreplied | State::Replied | State::Stream);
        if flow.state == State::Denied {
            return false;
        }
        if is_udp || self.now >= self.pickup_until {
            self.flows.retain(|_, flow| flow.id != id);
            self.stats.removed += 1;
        } else {
            flow.state = State::Denied;
            flow.decision = decision(CUT);
            flow.last_seen = self.now.max(self.pickup_until.saturating_sub(flow.timeout()));
        }
        true
    }

    fn expire(&mut self) -> usize {
        let before = self.flows.len();
        let now = self.now;
        self.flows.retain(|_, flow| !flow.has_expired(now));
        let expired = before - self.flows.len();
        self.stats.expired += expired as u64;
        expired
    }

    fn assert_same(&self, table: &FlowTable) {
        assert_eq!(table.stats(), self.stats);
        assert_eq!(table.len(), self.flows.len());
        let views: Vec<_> = table.views().collect();
        assert_eq!(views.len(), self.flows.len());
        for view in views {
            let flow = &self.flows[&view.original];
            assert_eq!((view.id, view.decision, view.state.name()), (flow.id, flow.decision, flow.name()));
            assert_eq!((view.opened, view.last_seen), (ticks(flow.opened), ticks(flow.last_seen)));
            assert_eq!(view.expires_at, ticks(flow.last_seen + flow.timeout() + 1));
            assert_eq!(
                (view.packets, view.bytes),
                (flow.packets, flow.packets.map(|n| n * u64::from(LEN_BYTES)))
            );
            assert_eq!(table.find(&view.original), Some((view, Direction::Original)));
            assert_eq!(table.find(&view.original.reversed()), Some((view, Direction::Reply)));
        }
    }
}

fn run(pickup_until: u64, ops: Vec<Op>) {
    let config = Config { timeouts: timeouts(), pickup_until: ticks(pickup_until), ..config(CAPACITY) };
    let table = FlowTable::new(config).unwrap();
    let mut model = Model { pickup_until, ..Model::default() };
    let mut cursor = ExpiryCursor::default();
    // Ids that were given, by flow number: the last one, live or stale.
    let mut ids: HashMap<u32, FlowId> = HashMap::new();
    for op in ops {
        let now = ticks(model.now);
        match op {
            Op::Track(flow, kind) => {
                let packet = build(flow, kind);
                let expected = model.track(&packet, kind);
                // In one step or, as a worker does, in three.
                let seek = table.seek(&packet);
                table.fetch(&seek);
                let track = if flow % 2 == 0 {
                    table.track(&packet, now)
                } else {
                    table.track_at(&seek, &packet, now)
                };
                match track {
                    Track::Known(known) => {
                        assert_eq!(Ok((known.id, known.direction, known.decision)), expected);
                        assert_eq!(known.original, model.flows[&known.original].original);
                    }
                    other => assert_eq!(Err(other), expected),
                }
            }
            Op::Open(flow, kind) => {
                let packet = build(flow, kind);
                if !Model::opens(kind) && model.is_taken_up(kind) {
                    continue;
                }
                let given = table.open(&packet, decision(model.now as u32), now);
                model.open(&table, &packet, kind, given);
                if let Ok(id) = given {
                    ids.insert(flow, id);
                }
            }
            Op::Remove(flow) => {
                let Some(&id) = ids.get(&flow) else { continue };
                let before = model.flows.len();
                model.flows.retain(|_, flow| flow.id != id);
                let expected = model.flows.len() < before;
                model.stats.removed += u64::from(expected);
                assert_eq!(table.remove(id), expected);
            }
            Op::Cut(flow) => {
                let Some(&id) = ids.get(&flow) else { continue };
                let expected = model.cut(id);
                assert_eq!(table.cut(id, decision(CUT), now), expected);
            }
            Op::Redecide(flow) => {
                let Some(&id) = ids.get(&flow) else { continue };
                let live = model.flows.values_mut().find(|flow| flow.id == id);
                assert_eq!(table.redecide(id, decision(1000 + flow)), live.is_some());
                if let Some(live) = live {
                    live.decision = decision(1000 + flow);
                }
            }
            Op::Expire => assert_eq!(table.expire(&mut cursor, now, table.slots()), model.expire()),
            Op::Wait(count) => model.now += count,
        }
        model.assert_same(&table);
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let tcp_kind = prop_oneof![
        3 => Just(Kind::Syn),
        3 => Just(Kind::SynAck),
        3 => Just(Kind::ClientAck),
        1 => Just(Kind::ServerAck),
        1 => Just(Kind::ClientRst),
        1 => Just(Kind::ServerRst),
    ];
    let udp_kind = prop_oneof![2 => Just(Kind::Question), 1 => Just(Kind::Answer)];
    let packet = (0..FLOWS, prop_oneof![3 => tcp_kind, 2 => udp_kind]);
    prop_oneof![
        8 => packet.clone().prop_map(|(flow, kind)| Op::Track(flow, kind)),
        6 => packet.prop_map(|(flow, kind)| Op::Open(flow, kind)),
        1 => (0..FLOWS).prop_map(Op::Remove),
        1 => (0..FLOWS).prop_map(Op::Cut),
        1 => (0..FLOWS).prop_map(Op::Redecide),
        1 => Just(Op::Expire),
        3 => prop_oneof![0u64..4, 4u64..40, Just(2000)].prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_table_does_what_a_map_would(pickup_until in 0u64..300, ops in prop::collection::vec(any_op(), 0..120)) {
        run(pickup_until, ops);
    }
}

/// As many operations as `PODGATE_MODEL_OPS` says, each round from a seed of its own that is printed;
/// `PODGATE_MODEL_SEED` is the first one.
#[test]
fn the_table_does_what_a_map_would_for_long() {
    const ROUND: u64 = 1000;
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("PODGATE_MODEL_SEED").unwrap_or(1);
    let rounds = number("PODGATE_MODEL_OPS").unwrap_or(20_000).div_ceil(ROUND);
    for seed in first..first + rounds {
        println!("PODGATE_MODEL_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
        let ops = prop::collection::vec(any_op(), ROUND as usize);
        // Few rounds see the time in which connections are taken up, and many the time after.
        run(seed % 4 * 3000, ops.new_tree(&mut runner).unwrap().current());
    }
}
