//! Tests of one slot.

use super::*;
use crate::state::{Assurance, FlowState, UdpState};
use crate::{Addr, Epoch, IpProtocol, Tuple, Way};

fn record(port: u16) -> Record {
    let tuple = Tuple {
        source: Addr::from_v4([10, 0, 0, 1]),
        destination: Addr::from_v4([10, 0, 0, 2]),
        source_port: port,
        destination_port: 53,
        protocol: IpProtocol::UDP,
    };
    let state = FlowState::Udp(UdpState::Unreplied);
    Record {
        key: Key::of(&tuple).0,
        originator: End::Low,
        decision: Decision { epoch: Epoch(1), egress: 2, ingress: 3, way: Way::Shortcut, owner: 4 },
        clock: Clock { last_seen: 7, state, assurance: Assurance::Tentative },
        opened: 7,
        packets: [1, 0],
        bytes: [60, 0],
        memory: Memory::default(),
        partner: None,
    }
}

#[test]
fn a_slot_changes_hands_by_generations() {
    let entry = Entry::default();
    assert!(!entry.generation().is_live());
    assert_eq!(entry.snapshot(), None);

    let first = entry.fill(&record(1));
    assert_eq!(entry.generation_of(&record(1).key), Some(first));
    assert_eq!(entry.generation_of(&record(2).key), None);
    assert_eq!(entry.snapshot(), Some((first, record(1))));

    entry.lock(first).unwrap().retire();
    assert_eq!(entry.generation_of(&record(1).key), None);
    assert!(entry.lock(first).is_none());

    let second = entry.fill(&record(2));
    assert_ne!(first, second);
    assert!(entry.lock(first).is_none());
    assert_eq!(entry.snapshot(), Some((second, record(2))));
}

#[test]
fn writes_stay_in_their_fields_and_their_generation() {
    let entry = Entry::default();
    let generation = entry.fill(&record(1));
    // The write counter must not run into the generation.
    entry.version.store(u64::from(generation.0) << 32 | (WRITES_MASK & !BUSY), Ordering::Relaxed);
    let mut expected = record(1);

    let flow = entry.lock(generation).unwrap();
    flow.count(Direction::Reply, 1500);
    (expected.packets[1], expected.bytes[1]) = (1, 1500);
    expected.memory = Memory { marks: [0xffff, 0x8001], words: [1, u64::MAX, 3] };
    flow.set_memory(&Memory::default(), &expected.memory);
    assert_eq!(flow.memory(), expected.memory);
    expected.decision = Decision { epoch: Epoch(9), egress: 8, ingress: 7, way: Way::Bridge, owner: 6 };
    flow.set_decision(&expected.decision);
    assert_eq!(flow.decision(), expected.decision);
    expected.clock.last_seen = 99;
    flow.set_clock(expected.clock);
    assert_eq!(flow.opened(), 7);
    drop(flow);

    assert_eq!(entry.snapshot(), Some((generation, expected)));
}
