//! What does remembering a flow cost, beside a general concurrent map that does the same work?

use std::collections::hash_map::RandomState;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use podgate_benches::order::Order;
use podgate_flowtable::{
    Addr, Decision, Direction, Epoch, ExpiryCursor, FlowId, FlowTable, IpProtocol, Packet, TcpFlags,
    TcpSegment, Time, Track, Transport, Tuple, Way,
};
use podgate_netns_tests::GateState;

const MANY: u32 = 1 << 20;
/// Flows opened before all of them are forgotten.
const WAVE: u32 = 1 << 16;
const TIMEOUT: Duration = Duration::from_secs(30);

const DECISION: Decision = Decision { epoch: Epoch(1), egress: 1, ingress: 2, way: Way::Bridge, owner: 1 };

/// What both can be asked to do.
trait Flows: Sync {
    type Id;
    fn with_capacity(capacity: usize) -> Self;
    fn open(&self, packet: &Packet, now: Time) -> Self::Id;
    fn remove(&self, id: Self::Id);
    /// Which way the packet goes on its flow, which it renews.
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction>;
    fn expire_all(&self, now: Time);
    fn len(&self) -> usize;
}

impl Flows for FlowTable {
    type Id = FlowId;

    fn with_capacity(capacity: usize) -> Self {
        GateState::new(capacity, 1).flows
    }

    #[inline]
    fn open(&self, packet: &Packet, now: Time) -> FlowId {
        self.open(packet, DECISION, now).expect("there is room")
    }

    fn remove(&self, id: FlowId) {
        self.remove(id);
    }

    #[inline]
    fn track(&self, packet: &Packet, now: Time) -> Option<Direction> {
        match self.track(packet, now) {
            Track::Known(known) => Some(known.direction),
            Track::Denied(_) | Track::MayOpen | Track::Refused(_) => None,
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
    type Id = (Key, IpProtocol);

    fn with_capacity(capacity: usize) -> Self {
        Self(DashMap::with_capacity_and_hasher(capacity, RandomState::new()))
    }

    #[inline]
    fn open(&self, packet: &Packet, now: Time) -> Self::Id {
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
        key(&packet.tuple)
    }

    fn remove(&self, id: Self::Id) {
        self.0.remove(&id);
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

/// Nine packets in ten have a flow; the tenth opens one, and an old one ends.
fn mixed<F: Flows>(flows: &F, thread: u32, packets: u64) {
    const LIVE: usize = 4096;
    let now = Time::default().after(Duration::from_secs(1));
    let mut order = Order::of(SHARED);
    let mut own = std::collections::VecDeque::with_capacity(LIVE);
    let mut next = SHARED + (thread << 24);
    (0..thread).for_each(|_| _ = order.pick());
    for packet in 0..packets {
        if packet % 10 == 0 {
            let opener = datagram(next);
            next += 1;
            assert_eq!(flows.track(&opener, now), None);
            own.push_back(flows.open(&opener, now));
            if own.len() == LIVE {
                own.pop_front().into_iter().for_each(|id| flows.remove(id));
            }
        } else {
            black_box(flows.track(&answer(order.pick()), now));
        }
    }
    own.into_iter().for_each(|id| flows.remove(id));
}

/// Flows that all threads meet on.
const SHARED: u32 = 1 << 18;

fn share<F: Flows>(c: &mut Criterion, name: &str) {
    let flows = F::with_capacity(1 << 19);
    for flow in 0..SHARED {
        flows.open(&datagram(flow), Time::default().after(Duration::from_secs(1)));
    }
    for threads in [1, 2] {
        c.bench_function(&format!("flow_table/{name}: 90 % hits, {threads} threads"), |b| {
            b.iter_custom(|packets| {
                let start = Instant::now();
                thread::scope(|scope| {
                    for thread in 0..threads {
                        let flows = &flows;
                        scope.spawn(move || mixed(flows, thread, packets / u64::from(threads)));
                    }
                });
                start.elapsed()
            });
        });
    }
}

/// Packets of one batch, as a worker takes them.
const BATCH: usize = 64;

fn warmed(c: &mut Criterion) {
    let now = Time::default().after(Duration::from_secs(1));
    let flows = <FlowTable as Flows>::with_capacity(MANY as usize);
    for flow in 0..MANY {
        Flows::open(&flows, &datagram(flow), now);
    }
    let mut order = Order::of(MANY);
    c.bench_function("flow_table/podgate: random track over 1 Mi, 64 packets warmed first", |b| {
        b.iter_custom(|packets| {
            let start = Instant::now();
            for _ in 0..packets.div_ceil(BATCH as u64) {
                let batch: [Packet; BATCH] = std::array::from_fn(|_| answer(order.pick()));
                batch.iter().for_each(|packet| flows.warm(packet));
                for packet in &batch {
                    black_box(Flows::track(&flows, packet, now));
                }
            }
            start.elapsed()
        });
    });
    // A whole sweep over flows that have all expired: the longest that one slice holds a worker.
    for slots in [16, 64, 256] {
        let flows = <FlowTable as Flows>::with_capacity(MANY as usize);
        (0..MANY).for_each(|flow| _ = Flows::open(&flows, &datagram(flow), now));
        let mut cursor = ExpiryCursor::default();
        let mut slices: Vec<Duration> = (0..flows.slots().div_ceil(slots))
            .map(|_| {
                let start = Instant::now();
                flows.expire(&mut cursor, now.after(2 * TIMEOUT), slots);
                start.elapsed()
            })
            .collect();
        assert!(flows.is_empty());
        slices.sort_unstable();
        let at = |share: f64| slices[((slices.len() - 1) as f64 * share) as usize];
        println!(
            "expire, slices of {slots}: median {:?}, 99.9 % {:?}, longest {:?}",
            at(0.5),
            at(0.999),
            at(1.0)
        );
    }
}

/// A data segment of one long connection, acknowledged at once.
fn tcp(c: &mut Criterion) {
    let now = Time::default().after(Duration::from_secs(1));
    let flows = <FlowTable as Flows>::with_capacity(MANY as usize);
    let segment = |flags, sequence, acknowledgement, payload_len_bytes| {
        let segment = TcpSegment {
            flags,
            sequence,
            acknowledgement,
            payload_len_bytes,
            window: 60_000,
            ..TcpSegment::default()
        };
        let tuple = Tuple { protocol: IpProtocol::TCP, ..datagram(0).tuple };
        Packet { tuple, transport: Transport::Tcp(segment), len_bytes: 1500 }
    };
    let back = |packet: Packet| Packet { tuple: packet.tuple.reversed(), ..packet };
    let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
    Flows::open(&flows, &segment(syn, 0, 0, 0), now);
    Flows::track(&flows, &back(segment(syn.with(ack), 0, 1, 0)), now);
    Flows::track(&flows, &segment(ack, 1, 1, 0), now);
    let (mut sent, mut turn) = (1u32, false);
    c.bench_function("flow_table/podgate: hot track of TCP data", |b| {
        b.iter(|| {
            turn = !turn;
            let packet = if turn {
                sent = sent.wrapping_add(1400);
                segment(ack, sent.wrapping_sub(1400), 1, 1400)
            } else {
                back(segment(ack, 1, sent, 0))
            };
            Flows::track(&flows, black_box(&packet), now).expect("in the window")
        });
    });
}

/// Tuples that fall together under a hash without a key, beside as many in no order.
fn collide(c: &mut Criterion) {
    const TUPLES: u32 = 100_000;
    let now = Time::default().after(Duration::from_secs(1));
    // Address and port fold to one value by exclusive or, and by sum.
    let folded = |number: u32| {
        let low = number as u16;
        let tuple = Tuple {
            source: Addr::from_v4((0x0a00_0000 | number >> 16 << 16 | u32::from(low)).to_be_bytes()),
            destination: Addr::from_v4((0x0ac8_0000 | number >> 16 << 16).to_be_bytes()),
            source_port: low,
            destination_port: 53,
            protocol: IpProtocol::UDP,
        };
        Packet { tuple, transport: Transport::Udp, len_bytes: 60 }
    };
    let scattered = |number: u32| folded(number.wrapping_mul(0x9e37_79b1) % (1 << 24) ^ number);
    let mut run = |name: &str, packet: &dyn Fn(u32) -> Packet| {
        let flows = <FlowTable as Flows>::with_capacity(1 << 18);
        let packets: Vec<Packet> = (0..TUPLES).map(packet).collect();
        for packet in &packets {
            _ = FlowTable::open(&flows, packet, DECISION, now);
        }
        let mut order = Order::of(TUPLES);
        c.bench_function(&format!("flow_table/podgate: 10^5 {name} tuples"), |b| {
            b.iter(|| Flows::track(&flows, &packets[order.pick() as usize], now).expect("it is there"));
        });
    };
    run("colliding", &folded);
    run("scattered", &scattered);
}

fn flow_table(c: &mut Criterion) {
    compare::<FlowTable>(c, "podgate");
    compare::<Map>(c, "dashmap");
    share::<FlowTable>(c, "podgate");
    share::<Map>(c, "dashmap");
    warmed(c);
    tcp(c);
    collide(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = flow_table
}
criterion_main!(benches);
