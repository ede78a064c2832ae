//! How long does a compilation take: a whole one, and after one change?

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use podgate_benches::cluster::{Change, Site, Size};
use podgate_control::compile::Compiler;

/// A pod of this node, and one of another.
const LOCAL: u32 = 7;
const REMOTE: u32 = 5_007;

fn compile(c: &mut Criterion) {
    for policies in [1_000, 10_000] {
        let site = Site::new(Size { namespaces: 100, pods: 10_000, local: 110, policies });
        let name = |what: &str| format!("compile/10000 pods, {policies} policies, 100 namespaces/{what}");
        c.bench_function(&name("whole"), |b| b.iter(|| black_box(&site).compile()));
        let all = site.compile();
        println!(
            "{:?}; {} KiB table, {} KiB addresses, {} KiB names",
            all.sizes,
            all.snapshot.policy.heap_bytes() / 1024,
            all.snapshot.endpoints.heap_bytes() / 1024,
            all.snapshot.names.heap_bytes() / 1024
        );
        let changes = [
            ("nothing changed", None),
            ("pods read anew", Some(Change::Reread)),
            ("pod of this node relabelled", Some(Change::Relabel(LOCAL))),
            ("pod of another node relabelled", Some(Change::Relabel(REMOTE))),
            ("pod readdressed", Some(Change::Readdress(REMOTE))),
            ("pod created", Some(Change::Create(10_000))),
            ("pod deleted", Some(Change::Delete(REMOTE))),
            ("rule edited", Some(Change::EditPolicy(LOCAL))),
            ("rule with an ipBlock edited", Some(Change::EditPolicy(8))),
            ("policy removed", Some(Change::RemovePolicy(LOCAL))),
            ("policy with an ipBlock removed", Some(Change::RemovePolicy(8))),
            ("namespace relabelled", Some(Change::RelabelNamespace(LOCAL))),
        ];
        for (what, change) in changes {
            let changed = change.map_or_else(|| site.clone(), |change| site.with(&change));
            after(c, &name(what), &site, &changed);
        }
        let without = site.with(&Change::RemovePolicy(8));
        after(c, &name("policy with an ipBlock added"), &without, &site);
    }
}

/// What it takes to come from one site to another.
fn after(c: &mut Criterion, name: &str, from: &Site, to: &Site) {
    let mut compiler = Compiler::new();
    from.compile_after(&mut compiler);
    println!("{:?}", to.compile_after(&mut compiler).work);
    c.bench_function(name, |b| {
        b.iter_custom(|count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                let before = from.compile_after(&mut compiler);
                let start = Instant::now();
                let now = black_box(to).compile_after(&mut compiler);
                took += start.elapsed();
                drop((before, now));
            }
            took
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = compile
}
criterion_main!(benches);
