//! The same over a line that loses, repeats and overtakes.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Barrier;
use std::time::Duration;

use podgate_netns_tests::Turn;
use podgate_netns_tests::capture::Recording;
use podgate_netns_tests::rough::{RoughLine, Roughness};

use crate::http::Http;
use crate::sockets::{SOON, abort, connect_from, drain, listen, pair, say};
use crate::{Replayed, SEED};

const ROUGH: Roughness = Roughness {
    delay: Duration::from_millis(2),
    lost: 20,
    repeated: 20,
    late: 60,
    at_most_late: Duration::from_millis(12),
};

/// Both ends see other things of what goes on: one has what the other lost, and sees it come late.
/// `PODGATE_CAPTURE_ROUNDS` says how often (2 by default); every round has a seed of its own.
#[test]
fn loss_repetition_and_reordering_are_admitted_at_either_end() {
    let _turn = Turn::alone();
    let rounds = std::env::var("PODGATE_CAPTURE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    for seed in SEED..SEED + rounds {
        let line = RoughLine::new(ROUGH, seed);
        let ends = ["left", "right"].map(|device| Recording::start(&line.middle, device));
        talk(&line);
        let [near, far] = ends.map(|end| Replayed::of(end.stop(), seed));
        println!("seed {seed}: {:?}", line.fates());
        for (replayed, hears) in [(near, 8000), (far, 8001)] {
            let over = ["TIME_WAIT", "LAST_ACK", "CLOSE", "CLOSE_WAIT", "FIN_WAIT"];
            for port in [8000, 8001] {
                let seen = replayed.ended(port, 4, &over);
                assert!(seen.data > 2000 && seen.repeated > 10 && seen.large == 0, "{seen:?}");
                // What is on its way to this end has been overtaken already.
                assert!(port != hears || seen.early > 10, "{seen:?}");
            }
            let seen = replayed.ended(2222, 1, &over);
            assert!(seen.data >= 200 && seen.repeated >= 1, "{seen:?}");
            // Who is to be reset may not have heard of it yet.
            let not_yet = ["SYN_RECV", "ESTABLISHED"];
            let seen = replayed.ended(9000, 20, &[&over[..], &not_yet].concat());
            assert!(seen.resets >= 10, "{seen:?}");
        }
    }
}

fn talk(line: &RoughLine) {
    let (left, right) = (&line.left, &line.right);
    let http = Http::serve(right, 8000, 4);
    for _ in 0..4 {
        left.sh(&format!("curl -sS -o /dev/null http://{}:8000/1500000", RoughLine::RIGHT));
    }
    http.join();
    let http = Http::serve(right, 8001, 4);
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(1_500_000).expect("a file");
    for _ in 0..4 {
        left.sh(&format!(
            "curl -sS -o /dev/null -T {} http://{}:8001/5",
            file.path().display(),
            RoughLine::RIGHT
        ));
    }
    http.join();
    let listener = listen(right, 2222);
    let (mut terminal, mut shell) = pair(&listener, left, RoughLine::RIGHT, None);
    for key in 0..100 {
        say(&mut terminal, &mut shell, &[key; 36]);
        say(&mut shell, &mut terminal, &[key; 52]);
    }
    drop((terminal, shell));
    let listener = listen(right, 9000);
    for number in 0..20 {
        let (mut one, mut other) = pair(&listener, left, RoughLine::RIGHT, None);
        let _ = other.write(&vec![1; 2000 * number]);
        let _ = one.write(&[2; 3000]);
        abort(if number % 2 == 0 { one } else { other });
    }
}

/// What crosses takes long enough to cross.
const SLOW: Roughness = Roughness {
    delay: Duration::from_millis(30),
    lost: 0,
    repeated: 0,
    late: 0,
    at_most_late: Duration::ZERO,
};

#[test]
fn opening_and_closing_at_the_same_time_is_admitted() {
    let _turn = Turn::alone();
    let line = RoughLine::new(SLOW, SEED);
    let replayed = Replayed::record(&line.middle, "left", || {
        // Both ends know each other's MAC address: the SYNs leave at the same time.
        for (space, address, last) in [(&line.left, RoughLine::RIGHT, 2), (&line.right, RoughLine::LEFT, 1)] {
            space.sh(&format!(
                "ip neigh replace {address} lladdr 02:45:00:00:00:0{last} dev eth0 nud permanent"
            ));
        }
        for round in 0..4 {
            let (ours, theirs) = (7000 + round, 7100 + round);
            let both = Barrier::new(2);
            let meet = |space, to, port, local| {
                both.wait();
                connect_from(space, to, port, Some(local)).expect("a connection")
            };
            let (mut one, mut other) = std::thread::scope(|scope| {
                let one = scope.spawn(|| meet(&line.left, RoughLine::RIGHT, theirs, ours));
                let other = scope.spawn(|| meet(&line.right, RoughLine::LEFT, ours, theirs));
                (one.join().expect("a thread"), other.join().expect("a thread"))
            });
            for stream in [&one, &other] {
                stream.set_read_timeout(Some(SOON)).expect("a timeout");
            }
            say(&mut one, &mut other, b"you too?");
            say(&mut other, &mut one, b"me too");
            if round == 3 {
                abort(one);
                assert!(std::io::Read::read(&mut other, &mut [0]).is_err());
                continue;
            }
            for stream in [&one, &other] {
                stream.shutdown(Shutdown::Write).expect("FIN");
            }
            assert_eq!((drain(&mut one), drain(&mut other)), (0, 0));
        }
    });
    for round in 0..4 {
        let state = if round == 3 { "CLOSE" } else { "TIME_WAIT" };
        let seen = replayed.ended(7000 + round, 1, &[state]);
        assert!(seen.syns >= 2, "{seen:?}");
        assert!(round == 3 || seen.crossed_fins == 1, "{seen:?}");
    }
}
