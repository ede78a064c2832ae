//! How long does a whole compilation take?

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use podgate_benches::cluster::{Site, Size};

fn compile(c: &mut Criterion) {
    let site = Site::new(Size { namespaces: 100, pods: 10_000, local: 110, policies: 1_000 });
    c.bench_function("compile/10000 pods, 1000 policies, 100 namespaces", |b| {
        b.iter(|| black_box(&site).compile());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = compile
}
criterion_main!(benches);
