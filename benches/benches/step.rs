//! What does the step cost a frame? Each time, the frame is written anew into a buffer first.

use std::hint::black_box;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use criterion::{Criterion, criterion_group, criterion_main};
use podgate_benches::frames::{self, Datagram, FLOWS};
use podgate_benches::order::Order;
use podgate_benches::timed::in_slices;
use podgate_dataplane::raw::BATCH;
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::step::Reading;
use podgate_dataplane::verdict::{DropReason, Verdict};
use podgate_flowtable::{ExpiryCursor, Time};
use podgate_netns_tests::GateState;

const CAPACITY: usize = 1 << 17;
/// Events that a gateway has room for; they are taken out between slices.
const EVENTS: usize = 4096;

fn established(c: &mut Criterion, snapshot: &Snapshot) {
    for count in [1, 1_000, 100_000] {
        let state = GateState::new(CAPACITY, EVENTS);
        let gate = state.gate(snapshot);
        let now = Time::default().after(Duration::from_secs(10));
        let datagram = Datagram::allowed();
        for flow in 0..count {
            assert_eq!(gate.step(&mut datagram.of_flow(flow), now), Verdict::Forward(frames::receiver()));
        }
        state.drain_events();
        let mut order = Order::of(count);
        c.bench_function(&format!("step/established UDP, {count} flows"), |b| {
            b.iter(|| gate.step(black_box(&mut datagram.of_flow(order.pick())), now));
        });
        c.bench_function(&format!("step/established UDP, {count} flows, in batches"), |b| {
            b.iter_custom(|frames| {
                let begun = Instant::now();
                for _ in 0..frames.div_ceil(BATCH as u64) {
                    let mut batch: [_; BATCH] = std::array::from_fn(|_| datagram.of_flow(order.pick()));
                    // As a worker does.
                    let readings: ArrayVec<Reading, BATCH> =
                        batch.iter().map(|frame| gate.read(frame)).collect();
                    for reading in &readings {
                        gate.fetch(reading);
                    }
                    for (frame, reading) in batch.iter_mut().zip(&readings) {
                        black_box(gate.decide(reading, frame, now));
                    }
                }
                begun.elapsed()
            });
        });
        let total = state.counters.total();
        assert_eq!((total.flows_opened, total.drops().count()), (u64::from(count), 0));
    }
}

fn opening(c: &mut Criterion, snapshot: &Snapshot) {
    let state = GateState::new(CAPACITY, EVENTS);
    let gate = state.gate(snapshot);
    let datagram = Datagram::allowed();
    let (mut now, mut flow) = (Time::default(), 0);
    c.bench_function("step/new UDP flow, allowed", |b| {
        b.iter_custom(|times| {
            let now = std::cell::Cell::from_mut(&mut now);
            let clear_up = || {
                state.drain_events();
                if state.flows.len() > CAPACITY / 2 {
                    now.set(now.get().after(Duration::from_secs(31)));
                    state.flows.expire(&mut ExpiryCursor::default(), now.get(), usize::MAX);
                }
            };
            in_slices(times, EVENTS as u64, clear_up, || {
                flow = (flow + 1) % FLOWS;
                black_box(gate.step(black_box(&mut datagram.of_flow(flow)), now.get()));
            })
        });
    });
    let total = state.counters.total();
    assert_eq!((total.flows_opened, total.drops().count()), (total.from_pod.packets, 0));
    assert_eq!(state.events.lost(), 0);
}

fn denied(c: &mut Criterion, snapshot: &Snapshot) {
    let state = GateState::new(CAPACITY, EVENTS);
    let gate = state.gate(snapshot);
    let datagram = Datagram::denied();
    let (mut flow, mut is_asked_for) = (0, false);
    c.bench_function("step/UDP denied by policy", |b| {
        is_asked_for = true;
        b.iter_custom(|times| {
            let clear_up = || {
                state.drain_events();
            };
            in_slices(times, EVENTS as u64, clear_up, || {
                flow = (flow + 1) % 50_000;
                black_box(gate.step(black_box(&mut datagram.of_flow(flow)), Time::default()));
            })
        });
    });
    let total = state.counters.total();
    let reasons: Vec<_> = total.drops().map(|(reason, _)| reason).collect();
    let expected = if is_asked_for { &[DropReason::PolicyEgress][..] } else { &[] };
    assert_eq!((total.from_pod.packets, &reasons[..]), (0, expected));
}

fn arp(c: &mut Criterion, snapshot: &Snapshot) {
    let state = GateState::new(CAPACITY, EVENTS);
    let gate = state.gate(snapshot);
    let question = frames::who_has();
    let mut frame = question.clone();
    c.bench_function("step/ARP request", |b| {
        b.iter(|| {
            frame.copy_from_slice(&question);
            gate.step(black_box(&mut frame), Time::default())
        });
    });
    assert_eq!(state.counters.total().drops().count(), 0);
}

fn step(c: &mut Criterion) {
    let compiled = frames::snapshot();
    let snapshot = &compiled.snapshot;
    established(c, snapshot);
    opening(c, snapshot);
    denied(c, snapshot);
    arp(c, snapshot);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = step
}
criterion_main!(benches);
