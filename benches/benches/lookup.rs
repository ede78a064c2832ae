//! Does the cost of a policy verdict grow with the number of policies? From two addresses to what
//! both sides say.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use podgate_benches::cluster::{FIRST_PORT, Site, Size, address};
use podgate_benches::order::Order;
use podgate_dataplane::snapshot::Snapshot;
use podgate_flowtable::{Addr, IpProtocol};

/// Pods that some policy isolates in every one of the clusters.
const ISOLATED: u32 = 10;
/// Questions, asked in turn.
const QUESTIONS: usize = 4096;

fn lookup(c: &mut Criterion) {
    let sizes = [(110, 10), (10_000, 10), (10_000, 10_000)];
    let worlds = sizes.map(|(pods, policies)| {
        let site = Site::new(Size { namespaces: 100, pods, local: 110, policies });
        (site.compile().snapshot, questions(pods))
    });
    for ((pods, policies), (snapshot, questions)) in sizes.iter().zip(&worlds) {
        let mut at = 0;
        c.bench_function(&format!("lookup/{pods} pods, {policies} policies"), |b| {
            b.iter(|| {
                at = (at + 1) % QUESTIONS;
                ask(snapshot, questions[at]);
            });
        });
        println!(
            "{} identities, {} pairs, {} lists, {} KiB",
            snapshot.policy.identities(),
            snapshot.policy.pairs(),
            snapshot.policy.lists(),
            (snapshot.policy.heap_bytes() + snapshot.endpoints.heap_bytes()) / 1024
        );
    }
    paired(&worlds);
}

/// All of them in turn, many times: what disturbs one disturbs the others. Prints medians and least.
fn paired(worlds: &[(Snapshot, Vec<Question>)]) {
    const ROUNDS: usize = 501;
    let mut times = vec![Vec::with_capacity(ROUNDS); worlds.len()];
    for _ in 0..ROUNDS {
        for ((snapshot, questions), times) in worlds.iter().zip(&mut times) {
            // The second time is timed: the caches are the snapshot's own, as under load.
            let mut start = Instant::now();
            for _ in 0..2 {
                start = Instant::now();
                for question in questions {
                    ask(snapshot, *question);
                }
            }
            times.push(start.elapsed().as_nanos() as f64 / QUESTIONS as f64);
        }
    }
    for times in &mut times {
        times.sort_unstable_by(f64::total_cmp);
    }
    for (place, what) in [(ROUNDS / 2, "median"), (0, "least")] {
        let found: Vec<f64> = times.iter().map(|times| times[place]).collect();
        let last = found[found.len() - 1];
        let ratios: Vec<String> = found.iter().map(|found| format!("{:.2}", last / found)).collect();
        println!("paired, {what}: {found:.1?} ns; the last one to each: {}", ratios.join(", "));
    }
}

type Question = (Addr, Addr, u16);

fn ask(snapshot: &Snapshot, (from, to, port): Question) {
    let ends = (snapshot.resolve(from), snapshot.resolve(to));
    black_box(snapshot.policy.decide(&ends.0, &ends.1, IpProtocol::TCP, black_box(port)));
}

/// To an isolated pod of this node, in turn from another one and from any pod of the cluster.
fn questions(pods: u32) -> Vec<Question> {
    let (mut any, mut isolated, mut ports) = (Order::of(pods), Order::of(ISOLATED), Order::of(100));
    let addr = |pod| Addr::from_v4(address(pod).octets());
    let question = |number| {
        let from = if number % 2 == 0 { isolated.pick() } else { any.pick() };
        (addr(from), addr(isolated.pick()), FIRST_PORT + ports.pick() as u16)
    };
    (0..QUESTIONS).map(question).collect()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = lookup
}
criterion_main!(benches);
