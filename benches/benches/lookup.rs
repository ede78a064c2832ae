//! Does the cost of a policy verdict grow with the number of policies? From two addresses to what
//! both sides say.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use podgate_benches::cluster::{FIRST_PORT, Site, Size, address};
use podgate_benches::order::Order;
use podgate_flowtable::{Addr, IpProtocol};

/// Pods that some policy isolates in every one of the clusters.
const ISOLATED: u32 = 10;
/// Questions, asked in turn.
const QUESTIONS: usize = 4096;

fn lookup(c: &mut Criterion) {
    for (pods, policies) in [(110, 10), (10_000, 10), (10_000, 10_000)] {
        let compiled = Site::new(Size { namespaces: 100, pods, local: 110, policies }).compile();
        let snapshot = &compiled.snapshot;
        let questions = questions(pods);
        let mut at = 0;
        c.bench_function(&format!("lookup/{pods} pods, {policies} policies"), |b| {
            b.iter(|| {
                at = (at + 1) % QUESTIONS;
                let (from, to, port) = questions[at];
                let ends = (snapshot.resolve(from), snapshot.resolve(to));
                snapshot.policy.decide(&ends.0, &ends.1, IpProtocol::TCP, black_box(port))
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
}

/// To an isolated pod of this node, in turn from another one and from any pod of the cluster.
fn questions(pods: u32) -> Vec<(Addr, Addr, u16)> {
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
