//! Recordings that the tests of `captures/` have made, met once more without any traffic.
//!
//! `PODGATE_CAPTURES_TO=netns-tests/captures` before those tests makes them anew.

use std::path::Path;

use podgate_netns_tests::capture::read;
use podgate_netns_tests::replay::Trace;

/// Every seed meets the segments in other manners.
const SEEDS: u64 = 50;

#[test]
fn nothing_of_a_stored_recording_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    // Name, segments at least, and the states that its connections end in.
    for (name, segments, states) in [
        ("ends_of_all_kinds_are_admitted", 300, &["CLOSE", "TIME_WAIT"][..]),
        ("opening_and_closing_at_the_same_time_is_admitted", 50, &["CLOSE", "TIME_WAIT"]),
        ("an_interactive_connection_is_admitted", 800, &["TIME_WAIT"]),
    ] {
        let path = folder.join(name).with_extension("pcap");
        let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let trace = Trace::of(&read(&file));
        assert!(trace.segments.len() >= segments, "{name}: {}", trace.segments.len());
        for seed in 0..SEEDS {
            let flows = trace.assert_admitted(seed);
            assert!(!flows.is_empty());
            for flow in flows {
                assert!(states.contains(&flow.state.name()), "{name}: {flow:?}");
            }
        }
    }
}
