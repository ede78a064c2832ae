//! The check can fail: what was not said in the recording is refused.

use podgate_flowtable::{Packet, Refusal, TcpFlags, TcpSegment, Time, Transport};
use podgate_netns_tests::Turn;
use podgate_netns_tests::capture::Recording;
use podgate_netns_tests::replay::{Manner, Trace, segment_of};

use crate::http::Http;
use crate::two_pods;

/// Positions of the segments that are refused when some segments are changed.
fn refused(trace: &Trace, change: impl Fn(&mut TcpSegment)) -> Vec<(usize, Refusal)> {
    let changed = trace.segments.iter().enumerate().map(|(at, (time, packet))| {
        let mut segment = *segment_of(packet);
        if is_changed(at, &segment) {
            change(&mut segment);
        }
        (*time, Packet { transport: Transport::Tcp(segment), ..*packet })
    });
    let changed: Vec<(Time, Packet)> = changed.collect();
    Trace { segments: changed }.run(Manner::Once).refused
}

/// Some that are not at the beginning, with data: every third.
fn is_changed(at: usize, segment: &TcpSegment) -> bool {
    at > 10 && at.is_multiple_of(3) && segment.payload_len_bytes > 0 && segment.flags.contains(TcpFlags::ACK)
}

#[test]
fn what_was_never_said_is_refused() {
    let _turn = Turn::shared();
    let node = two_pods();
    let (client, server) = (&node.pods[0], &node.pods[1]);
    client.space.sh("ethtool -K eth0 tso off gso off gro off");
    server.space.sh("ethtool -K eth0 tso off gso off gro off");
    let recording = Recording::start(&node.space, &client.port);
    let http = Http::serve(&server.space, 8000, 1);
    client.space.sh(&format!("curl -sS -o /dev/null http://{}:8000/2000000", server.v4));
    http.join();
    let trace = Trace::of(&recording.stop());
    trace.assert_admitted(crate::SEED);

    let touched: Vec<usize> =
        (0..trace.segments.len()).filter(|&at| is_changed(at, segment_of(&trace.segments[at].1))).collect();
    assert!(touched.len() > 100, "{} of {}", touched.len(), trace.segments.len());
    let all: Vec<_> = touched.iter().map(|&at| (at, Refusal::TcpInvalid)).collect();
    // Windows grow to some megabytes here; beyond them nothing passes, and nothing else is hurt by it.
    for far in [1 << 24, 1 << 28, 1 << 30] {
        assert_eq!(refused(&trace, |segment| segment.sequence = segment.sequence.wrapping_add(far)), all);
        assert_eq!(
            refused(&trace, |segment| segment.acknowledgement = segment.acknowledgement.wrapping_add(far)),
            all
        );
    }
    // Resets beyond the window; without them being believed, all the rest is admitted.
    let reset = |segment: &mut TcpSegment| {
        *segment = TcpSegment {
            flags: TcpFlags::RST,
            sequence: segment.sequence.wrapping_add(1 << 28),
            payload_len_bytes: 0,
            ..*segment
        };
    };
    assert_eq!(refused(&trace, reset), all);
    let no_such_flags = |segment: &mut TcpSegment| {
        segment.flags = TcpFlags(segment.flags.0 | TcpFlags::SYN.0 | TcpFlags::FIN.0);
    };
    assert_eq!(refused(&trace, no_such_flags), all);
    // Of a connection of which no opening was seen, nothing is admitted.
    let mut headless = trace.clone();
    headless.segments.retain(|(_, packet)| !segment_of(packet).flags.contains(TcpFlags::SYN));
    let refused = headless.run(Manner::Once).refused;
    assert_eq!(refused.len(), headless.segments.len());
    assert!(refused.iter().all(|(_, refusal)| *refusal == Refusal::NoFlow), "{refused:?}");
}
