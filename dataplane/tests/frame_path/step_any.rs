//! Whatever comes, the step answers, and what it drops it leaves as it was.

use podgate_dataplane::counters::PortCounts;
use podgate_dataplane::parse::TrunkHeader;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::Verdict;
use proptest::prelude::*;

use crate::frames::{Link, port};
use crate::parse_any::samples;
use crate::world::{DB, NODE_MAC, WEB, World, from_pod, mac, secs, to_pod};

/// One verdict, one counter, and no other bytes than those the verdict says.
fn check(world: &World, frame: &[u8]) {
    while world.events.pop().is_some() {}
    let port = TrunkHeader::split(frame).ok().map(|(header, _)| header.tag.port);
    let before = world.counters.port(port);
    let mut after = frame.to_vec();
    let verdict = world.gate().step(&mut after, secs(10));
    let counted = world.counters.port(port);
    let forwarded = |counts: &PortCounts| counts.from_pod.packets + counts.to_pod.packets;
    let dropped = |counts: &PortCounts| counts.drops().map(|(_, count)| count).sum::<u64>();
    match verdict {
        Verdict::Forward(tag) => {
            assert_eq!(after[6..14], frame[6..14]);
            assert_eq!(after[14..16], tag.tci().to_be_bytes());
            assert_eq!(after[16..], frame[16..]);
            assert_eq!((forwarded(&counted), dropped(&counted)), (forwarded(&before) + 1, dropped(&before)));
        }
        Verdict::Drop(reason) | Verdict::Reject(reason) => {
            assert_eq!(after, frame);
            assert_eq!(counted.dropped(reason), before.dropped(reason) + 1);
            assert_eq!((forwarded(&counted), dropped(&counted)), (forwarded(&before), dropped(&before) + 1));
        }
    }
}

fn links() -> [Link; 4] {
    [
        from_pod(WEB, mac(DB)),
        from_pod(WEB, NODE_MAC),
        to_pod(DB),
        Link::new(Tag::from_pod(port(7)), mac(7), NODE_MAC),
    ]
}

#[test]
fn every_prefix_of_every_frame() {
    let world = World::new();
    for link in links() {
        for frame in samples(link) {
            for len in 0..=frame.len() {
                check(&world, &frame[..len]);
            }
        }
    }
}

#[test]
fn every_bit_of_every_frame_flipped() {
    let world = World::new();
    for link in links() {
        for mut frame in samples(link) {
            for bit in 0..frame.len() * 8 {
                frame[bit / 8] ^= 1 << (bit % 8);
                check(&world, &frame);
                frame[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_frames(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..128), 1..8)) {
        let world = World::new();
        for frame in frames {
            check(&world, &frame);
        }
    }

    #[test]
    fn samples_with_random_bytes(changes in proptest::collection::vec((0_usize..4, 0_usize..64, 0_usize..128, any::<u8>()), 1..32)) {
        let world = World::new();
        for (link, which, at, value) in changes {
            let mut frames = samples(links()[link]);
            let count = frames.len();
            let frame = &mut frames[which % count];
            let at = at % frame.len();
            frame[at] = value;
            check(&world, frame);
        }
    }
}
