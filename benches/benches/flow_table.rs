//! What does remembering a flow cost, beside a general concurrent map that does the same work?

use std::collections::hash_map::RandomState;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use podgate_benches::order::Order;
use podgate_flowtable::{
    Addr, Decision, Direction, Epoch, ExpiryCursor, FlowTable, IpProtocol, Packet, Time, Track, Transport,
    Tuple, Way,
};
use podgate_netns_tests::GateState;

const MANY: u32 = 1 << 20;
/// Flows opened before all of them are forgotten.
const WAVE: u32 = 1 << 16;
const TIMEOUT: Duration = Duration::from_secs(30);

const DECISION: Decision = Decision { epoch: Epoch(1), egress: 1, ingress: 2, way: Way::Bridge, port: 1 };

/// What both can be asked to do.
trait Flows {
    fn with_capacity(capacity: usize) -> Self;
    fn open(&self, packet: &Packet, now: Time);
    /// Which way the packet goes on its flow, which it renews.
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction>;
    fn expire_all(&self, now: Time);
    fn len(&self) -> usize;
}

impl Flows for FlowTable {
    fn with_capacity(capacity: usize) -> Self {
        GateState::new(capacity, 1).flows
    }

    #[inline]
    fn open(&self, packet: &Packet, now: Time) {
        self.open(packet, DECISION, now).expect("there is room");
    }

    #[inline]
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction> {
        match self.track(packet, now) {
            Track::Known(known) => Some(known.direction),
            Track::MayOpen | Track::Refused(_) => None,
        }
    }

    fn expire_all(&self, now: Time) {
        self.expire(&mut ExpiryCursor::default(), now, usize::MAX);
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Both ends sorted, so that a packet and its answer have the same key.
type Key = [(Addr, u16); 2];

/// As much of a UDP flow as the flow table keeps.
struct Remembered {
    original: Tuple,
    decision: Decision,
    is_replied: bool,
    opened: Time,
    last_seen: Time,
    packets: [u64; 2],
    bytes: [u64; 2],
}

/// Keyed by SipHash, which is the map's default; the flow table's hash is keyed too.
struct Map(DashMap<(Key, IpProtocol), Remembered, RandomState>);

fn key(tuple: &Tuple) -> (Key, IpProtocol) {
    let mut ends = [(tuple.source, tuple.source_port), (tuple.destination, tuple.destination_port)];
    ends.sort_unstable();
    (ends, tuple.protocol)
}

impl Flows for Map {
    fn with_capacity(capacity: usize) -> Self {
        Self(DashMap::with_capacity_and_hasher(capacity, RandomState::new()))
    }

    #[inline]
    fn open(&self, packet: &Packet, now: Time) {
        let flow = Remembered {
            original: packet.tuple,
            decision: DECISION,
            is_replied: false,
            opened: now,
            last_seen: now,
            packets: [1, 0],
            bytes: [packet.len_bytes.into(), 0],
        };
        self.0.insert(key(&packet.tuple), flow);
    }

    #[inline]
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction> {
        let mut flow = self.0.get_mut(&key(&packet.tuple))?;
        if now.since(flow.last_seen) > TIMEOUT {
            return None;
        }
        let is_original = flow.original == packet.tuple;
        let direction = if is_original { Direction::Original } else { Direction::Reply };
        flow.is_replied |= !is_original && now.since(flow.opened) < TIMEOUT;
        flow.last_seen = now;
        flow.packets[direction.index()] += 1;
        flow.bytes[direction.index()] += u64::from(packet.len_bytes);
        black_box(flow.decision);
        Some(direction)
    }

    fn expire_all(&self, now: Time) {
        self.0.retain(|_, flow| now.since(flow.last_seen) <= TIMEOUT);
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A datagram of flow number `flow`.
#[inline]
fn datagram(flow: u32) -> Packet {
    let tuple = Tuple {
        source: Addr::from_v4((0x0a00_0000 + (flow >> 12)).to_be_bytes()),
        destination: Addr::from_v4([10, 200, 0, 1]),
        source_port: (flow & 0xfff) as u16 + 1024,
        destination_port: 53,
        protocol: IpProtocol::UDP,
    };
    Packet { tuple, transport: Transport::Udp, len_bytes: 60 }
}

#[inline]
fn answer(flow: u32) -> Packet {
    let packet = datagram(flow);
    Packet { tuple: packet.tuple.reversed(), ..packet }
}

fn compare<F: Flows>(c: &mut Criterion, name: &str) {
    let now = Time::default().after(Duration::from_secs(1));
    let flows = F::with_capacity(MANY as usize);
    flows.open(&datagram(0), now);
    let mut turn = false;
    c.bench_function(&format!("flow_table/{name}: hot track"), |b| {
        b.iter(|| {
            turn = !turn;
            flows.track(black_box(&if turn { datagram(0) } else { answer(0) }), now)
        });
    });

    for flow in 1..MANY {
        flows.open(&datagram(flow), now);
    }
    let mut order = Order::of(MANY);
    c.bench_function(&format!("flow_table/{name}: random track over 1 Mi"), |b| {
        b.iter(|| flows.track(&answer(order.pick()), now));
    });
    assert!((0..MANY).all(|flow| flows.track(&answer(flow), now) == Some(Direction::Reply)));
    drop(flows);

    let flows = F::with_capacity(WAVE as usize);
    let (mut now, mut opened) = (now, 0);
    c.bench_function(&format!("flow_table/{name}: insert and expire"), |b| {
        b.iter(|| {
            if opened == WAVE {
                now = now.after(2 * TIMEOUT);
                flows.expire_all(now);
                assert_eq!(flows.len(), 0);
                opened = 0;
            }
            flows.open(&datagram(opened), now);
            opened += 1;
        });
    });
}

fn flow_table(c: &mut Criterion) {
    compare::<FlowTable>(c, "podgate");
    compare::<Map>(c, "dashmap");
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = flow_table
}
criterion_main!(benches);
