//! Random traffic under policy that changes at random, in memory: the very gate that workers run,
//! held against the naive evaluator frame by frame.
//!
//! ```text
//! draw     everything random, from one seed
//! cast     who is there, and what policy says of them
//! talk     conversations: what each end sends next
//! wire     frames on their way: lost, repeated, out of order, back from the bridge
//! ledger   what must hold of every frame, and of the sums at the end
//! ```
//!
//! A run prints its seed; `PODGATE_SIMULATION_SEED` runs that one again.

mod cast;
mod draw;
mod ledger;
#[path = "../../../control/tests/random/mod.rs"]
mod random;
mod talk;
mod wire;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use cast::Cast;
use draw::Draw;
use ledger::{Ledger, Sums};
use podgate_flowtable::Time;
use talk::Talk;
use wire::Wire;

/// Frames offered to the gate in one run.
const FRAMES: u64 = 10_000;

/// Conversations at a time.
const TALKS: usize = 40;

#[test]
fn flows_are_decided_again_when_policy_changes() {
    let sums = simulate(1, true);
    sums.assert_all_came_up();
    assert!(sums.redecided > 100 && sums.cut > 50 && sums.outlived == 0, "{sums:?}");
    simulate(any_seed(), true);
}

#[test]
fn flows_live_on_where_they_are_kept() {
    let sums = simulate(2, false);
    sums.assert_all_came_up();
    assert!(sums.redecided == 0 && sums.cut == 0 && sums.outlived > 100, "{sums:?}");
    simulate(any_seed(), false);
}

/// The one that is asked for, or one that never was.
fn any_seed() -> u64 {
    match std::env::var("PODGATE_SIMULATION_SEED") {
        Ok(text) => text.parse().expect("PODGATE_SIMULATION_SEED is a number"),
        Err(_) => RandomState::new().hash_one(()),
    }
}

fn simulate(seed: u64, recheck_live_flows: bool) -> Sums {
    println!("PODGATE_SIMULATION_SEED={seed} (live flows decided again: {recheck_live_flows})");
    let mut draw = Draw::new(seed);
    let mut cast = Cast::new(recheck_live_flows, &mut draw);
    let mut ledger = Ledger::new();
    let mut wire = Wire::default();
    let mut talks: Vec<Talk> = Vec::new();
    let mut now = Time::default().after(Duration::from_secs(1000));
    while ledger.offered() < FRAMES {
        if draw.one_in(150) {
            cast.change(&mut draw);
        }
        now = now.after(pause(&mut draw));
        ledger.sweep(now);
        if talks.len() < TALKS {
            talks.push(Talk::begin(&mut draw));
        } else if draw.one_in(10) {
            talks.swap_remove(draw.below(TALKS));
        }
        let at = draw.below(talks.len());
        if let Some(packet) = talks[at].say(&mut draw) {
            wire.put(cast::emit(&packet, &mut draw));
        }
        let Some(frame) = wire.take(&mut draw) else { continue };
        if let Some(out) = ledger.offer(&cast, &frame, now) {
            match cast::next_stop(&frame, out) {
                Some(frame) => wire.put(frame),
                None => talks.iter_mut().for_each(|talk| talk.hear(&frame.packet)),
            }
        }
    }
    let sums = ledger.close();
    println!("{sums:?}");
    sums
}

/// Mostly short; now and then long enough for flows to be forgotten.
fn pause(draw: &mut Draw) -> Duration {
    match draw.below(1000) {
        0 => Duration::from_secs(121),
        1..=3 => Duration::from_secs(31),
        _ => Duration::from_micros(draw.below(20_000) as u64),
    }
}
