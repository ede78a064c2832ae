//! What do Services cost: their table, a change of it, a new connection's backend, and a packet that is
//! translated?

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use podgate_benches::frames::{self, Datagram, OPEN_PORTS};
use podgate_benches::order::Order;
use podgate_benches::services::{cluster, connection, slice};
use podgate_control::service::Translator;
use podgate_dataplane::service::{Found, Maglev, ServiceKey, ServicePort, Services};
use podgate_dataplane::verdict::Verdict;
use podgate_flowtable::{IpProtocol, Target, Time};
use podgate_netns_tests::GateState;

const SEED: u64 = 7;
const BACKENDS: u32 = 10;

fn table(c: &mut Criterion) {
    let all = cluster(10_000, BACKENDS);
    c.bench_function("services/table of 10000 with 10 endpoints each", |b| {
        b.iter(|| Translator::default().translate(black_box(&all), |_| false, SEED));
    });
    // One endpoint less, and again.
    let mut other = all.clone();
    other.put_endpoint_slice(slice(5_000, 1..BACKENDS));
    let mut translator = Translator::default();
    let (services, notes) = translator.translate(&all, |_| false, SEED);
    assert_eq!((services.len(), notes.len()), (10_000, 0));
    let mut states = [&other, &all].into_iter().cycle();
    c.bench_function("services/one endpoint's change among 10000", |b| {
        b.iter(|| translator.translate(states.next().unwrap_or(&all), |_| false, SEED));
    });
}

fn lookup(c: &mut Criterion) {
    for count in [10, 10_000] {
        let (services, _) = Translator::default().translate(&cluster(count, BACKENDS), |_| false, SEED);
        // Of as many Services as fit a cache, wherever they are among all: what grows with their number
        // is the table, not what one node's pods ask for.
        let asked: Vec<u32> = {
            let mut order = Order::of(count);
            (0..10).map(|_| order.pick()).collect()
        };
        let (mut order, mut client) = (Order::of(10), 0_u32);
        c.bench_function(
            &format!("services/backend of a new connection, {count} services, 10 asked for"),
            |b| {
                b.iter(|| {
                    client += 1;
                    choose(&services, asked[order.pick() as usize], client)
                });
            },
        );
        let mut order = Order::of(count);
        c.bench_function(&format!("services/backend of a new connection, {count} services, any"), |b| {
            b.iter(|| {
                client += 1;
                choose(&services, order.pick(), client)
            });
        });
    }
}

fn choose(services: &Services, service: u32, client: u32) -> Target {
    let tuple = black_box(connection(service, client));
    let Found::Port(port) = services.find(&tuple) else { panic!("no such port: {tuple:?}") };
    port.backends.choose(services.hash(&tuple, false)).expect("a backend")
}

fn translation(c: &mut Criterion) {
    let compiled = frames::snapshot();
    let direct = Datagram::allowed();
    let to_service = Datagram::to_service();
    let key = ServiceKey { port: OPEN_PORTS.0, protocol: IpProtocol::UDP, addr: frames::service_address() };
    let backends = Arc::new(Maglev::new(vec![frames::backend()]));
    let port = ServicePort { name: "x/s".into(), backends, ..ServicePort::default() };
    let snapshot = compiled.snapshot.with_services(Services::new([(key, port)], SEED));
    let state = GateState::new(1 << 17, 4096);
    let gate = state.gate(&snapshot);
    let now = Time::default().after(Duration::from_secs(10));
    for datagram in [&direct, &to_service] {
        // Not the same source port: they would be one connection.
        for flow in 0..2_000 {
            let flow = flow * 2 + u32::from(std::ptr::eq(datagram, &raw const to_service));
            assert_eq!(gate.step(&mut datagram.of_flow(flow), now), Verdict::Forward(frames::receiver()));
            state.drain_events();
        }
    }
    for count in [1, 1_000] {
        for (name, datagram, offset) in [("as it is", &direct, 0), ("translated", &to_service, 1)] {
            let mut order = Order::of(count);
            c.bench_function(&format!("services/step of established UDP {name}, {count} flows"), |b| {
                b.iter_custom(|frames| {
                    let begun = Instant::now();
                    for _ in 0..frames {
                        black_box(
                            gate.step(black_box(&mut datagram.of_flow(order.pick() * 2 + offset)), now),
                        );
                    }
                    begun.elapsed()
                });
            });
        }
    }
    assert_eq!(state.counters.total().drops().count(), 0);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = table, lookup, translation
}
criterion_main!(benches);
