//! What does remembering a flow cost, beside a general concurrent map that does the same work?
//!
//! What is to be compared is timed in turn, a few milliseconds each, and the median ratio is said: the
//! machine's own ups and downs meet both alike.

use std::collections::VecDeque;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use podgate_benches::flows::{BATCH, DECISION, Flows, back, datagram};
use podgate_benches::map::Map;
use podgate_benches::order::Order;
use podgate_flowtable::{
    Addr, ExpiryCursor, FlowTable, IpProtocol, Packet, TcpFlags, TcpSegment, Time, Transport, Tuple,
};

const MANY: u32 = 1 << 20;
/// Flows opened before all of them are forgotten.
const WAVE: u32 = 1 << 16;
const TIMEOUT: Duration = Duration::from_secs(30);
const START: Time = Time::from_nanos(1_000_000_000);

fn one_flow<F: Flows>(c: &mut Criterion, name: &str) {
    let flows = F::with_capacity(MANY as usize);
    flows.open(&datagram(0), START);
    let packets = [datagram(0), back(datagram(0))];
    let mut at = 0;
    c.bench_function(&format!("flow_table/{name}: one flow"), |b| {
        b.iter(|| {
            at ^= 1;
            flows.track(black_box(&packets[at]), START)
        });
    });
}

/// Data segments of one long connection, each acknowledged at once.
fn one_connection(c: &mut Criterion) {
    const SEGMENTS: u32 = 256;
    const LEN_BYTES: u16 = 128;
    let flows = FlowTable::with_capacity(MANY as usize);
    let segment = |flags, sequence, acknowledgement, payload_len_bytes| {
        let window = 60_000;
        let segment = TcpSegment {
            flags,
            sequence,
            acknowledgement,
            payload_len_bytes,
            window,
            ..TcpSegment::default()
        };
        let tuple = Tuple { protocol: IpProtocol::TCP, ..datagram(0).tuple };
        Packet { tuple, transport: Transport::Tcp(segment), len_bytes: 1500 }
    };
    let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
    Flows::open(&flows, &segment(syn, 0, 0, 0), START);
    Flows::track(&flows, &back(segment(syn.with(ack), 0, 1, 0)), START);
    // Made beforehand, and sent again and again: 32 KiB, half of what a window holds.
    let packets: Vec<Packet> = (0..SEGMENTS)
        .map(|number| 1 + number * u32::from(LEN_BYTES))
        .flat_map(|at| [segment(ack, at, 1, LEN_BYTES), back(segment(ack, 1, at + u32::from(LEN_BYTES), 0))])
        .collect();
    let mut at = 0;
    c.bench_function("flow_table/podgate: one TCP connection", |b| {
        b.iter(|| {
            at = (at + 1) % packets.len();
            Flows::track(&flows, black_box(&packets[at]), START).expect("in the window")
        });
    });
}

fn many<F: Flows>(c: &mut Criterion, name: &str) {
    let flows = F::with_capacity(MANY as usize);
    (0..MANY).for_each(|flow| _ = flows.open(&datagram(flow), START));
    let mut order = Order::of(MANY);
    c.bench_function(&format!("flow_table/{name}: any of 1 Mi flows"), |b| {
        b.iter(|| flows.track(&back(datagram(order.pick())), START));
    });
    c.bench_function(&format!("flow_table/{name}: any of 1 Mi flows, in batches"), |b| {
        b.iter_custom(|packets| {
            let start = Instant::now();
            for _ in 0..packets.div_ceil(BATCH as u64) {
                let batch: [Packet; BATCH] = std::array::from_fn(|_| back(datagram(order.pick())));
                flows.track_batch(&batch, START, |_, direction| _ = black_box(direction));
            }
            start.elapsed()
        });
    });
}

fn waves<F: Flows>(c: &mut Criterion, name: &str) {
    let flows = F::with_capacity(WAVE as usize);
    let (mut now, mut opened) = (START, 0);
    c.bench_function(&format!("flow_table/{name}: insert and expire"), |b| {
        b.iter(|| {
            if opened == WAVE {
                now = now.after(2 * TIMEOUT);
                flows.expire_all(now);
                assert_eq!(flows.count(), 0);
                opened = 0;
            }
            flows.open(&datagram(opened), now);
            opened += 1;
        });
    });
}

/// Flows that all threads meet on.
const SHARED: u32 = 1 << 18;

/// Nine packets in ten have a flow; the tenth opens one, and an old one ends.
fn mixed<F: Flows>(flows: &F, thread: u32, batches: u32) {
    const LIVE: usize = 4096;
    let mut order = Order::of(SHARED);
    (0..thread * 1000).for_each(|_| _ = order.pick());
    let mut own = VecDeque::with_capacity(LIVE + 1);
    let mut next = SHARED + (thread << 20);
    for _ in 0..batches {
        let batch: [Packet; BATCH] = std::array::from_fn(|at| {
            let opens = at % 10 == 9;
            next += u32::from(opens);
            if opens { datagram(next) } else { back(datagram(order.pick())) }
        });
        flows.track_batch(&batch, START, |at, direction| {
            if direction.is_none() {
                own.push_back(flows.open(&batch[at], START));
            }
            if own.len() > LIVE {
                own.pop_front().into_iter().for_each(|id| flows.remove(id));
            }
        });
    }
    for id in own {
        flows.remove(id);
    }
}

/// Nanoseconds a packet while `threads` threads are at it.
fn mixed_nanos<F: Flows>(flows: &F, threads: u32) -> f64 {
    const BATCHES: u32 = 4000;
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || mixed(flows, thread, BATCHES));
        }
    });
    start.elapsed().as_nanos() as f64 / f64::from(threads * BATCHES * BATCH as u32)
}

fn threads() {
    let [own, map] = [(); 2].map(|()| 1 << 19);
    let (own, map) = (FlowTable::with_capacity(own), Map::with_capacity(map));
    for flow in 0..SHARED {
        Flows::open(&own, &datagram(flow), START);
        map.open(&datagram(flow), START);
    }
    let rounds: Vec<[f64; 4]> = (0..31)
        .map(|_| [mixed_nanos(&own, 1), mixed_nanos(&own, 2), mixed_nanos(&map, 1), mixed_nanos(&map, 2)])
        .collect();
    let median_of = |figure: fn(&[f64; 4]) -> f64| median(rounds.iter().map(figure).collect());
    println!(
        "90 % hits, a packet: podgate {:.0} ns with one thread, {:.0} with two; dashmap {:.0}, {:.0}",
        median_of(|round| round[0]),
        median_of(|round| round[1]),
        median_of(|round| round[2]),
        median_of(|round| round[3])
    );
    println!(
        "two threads of podgate: {:.2}x one thread, {:.2}x two of dashmap",
        median_of(|round| round[0] / round[1]),
        median_of(|round| round[3] / round[1])
    );
}

/// A whole sweep over flows that have all expired: how long one slice holds a worker, by the thread's
/// own clock, which stands still while the machine runs something else.
fn expire() {
    for slots in [32, 128, 512] {
        let flows = FlowTable::with_capacity(MANY as usize);
        (0..MANY).for_each(|flow| _ = Flows::open(&flows, &datagram(flow), START));
        let mut cursor = ExpiryCursor::default();
        let slices = (0..flows.slots().div_ceil(slots)).map(|_| {
            let start = thread_nanos();
            flows.expire(&mut cursor, START.after(2 * TIMEOUT), slots);
            (thread_nanos() - start) / 1000.0
        });
        let mut slices: Vec<f64> = slices.collect();
        assert!(flows.is_empty());
        slices.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| slices[((slices.len() - 1) as f64 * share) as usize];
        println!(
            "expire 1 Mi flows, {slots} slots at a time: median {:.1} us, 99.9 % {:.1} us, longest {:.1} us",
            at(0.5),
            at(0.999),
            at(1.0)
        );
    }
}

fn thread_nanos() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the clock is always there");
    Duration::from(time).as_nanos() as f64
}

/// Tuples that fall together under a hash without a key, beside as many in no order.
fn collide() {
    const TUPLES: u32 = 100_000;
    const PACKETS: u32 = 200_000;
    let tuple = |source: u32, source_port| {
        let destination = Addr::from_v4([10, 200, 0, 1]);
        let source = Addr::from_v4((0x0a00_0000 | source).to_be_bytes());
        let tuple =
            Tuple { source, destination, source_port, destination_port: 53, protocol: IpProtocol::UDP };
        Packet { tuple, transport: Transport::Udp, len_bytes: 60 }
    };
    // Address and port fold to one of two values by exclusive or.
    let folded = |number: u32| tuple(number, number as u16);
    let scattered = |number: u32| {
        let number = number.wrapping_mul(0x9e37_79b1);
        tuple(number >> 12, number as u16)
    };
    let fill = |packet: &dyn Fn(u32) -> Packet| {
        let flows = FlowTable::with_capacity(1 << 18);
        let packets: Vec<Packet> = (0..TUPLES).map(packet).collect();
        for packet in &packets {
            _ = FlowTable::open(&flows, packet, DECISION, START);
        }
        (flows, packets)
    };
    let (colliding, scattered) = (fill(&folded), fill(&scattered));
    let nanos = |(flows, packets): &(FlowTable, Vec<Packet>)| {
        let mut order = Order::of(TUPLES);
        let start = thread_nanos();
        for _ in 0..PACKETS {
            Flows::track(flows, &packets[order.pick() as usize], START).expect("it is there");
        }
        (thread_nanos() - start) / f64::from(PACKETS)
    };
    let rounds: Vec<[f64; 2]> = (0..31).map(|_| [nanos(&colliding), nanos(&scattered)]).collect();
    println!(
        "10^5 tuples: colliding {:.0} ns, scattered {:.0} ns, ratio {:.2}",
        median(rounds.iter().map(|round| round[0]).collect()),
        median(rounds.iter().map(|round| round[1]).collect()),
        median(rounds.iter().map(|[colliding, scattered]| colliding / scattered).collect())
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn flow_table(c: &mut Criterion) {
    one_flow::<FlowTable>(c, "podgate");
    one_flow::<Map>(c, "dashmap");
    one_connection(c);
    many::<FlowTable>(c, "podgate");
    many::<Map>(c, "dashmap");
    waves::<FlowTable>(c, "podgate");
    waves::<Map>(c, "dashmap");
    threads();
    expire();
    collide();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = flow_table
}
criterion_main!(benches);
