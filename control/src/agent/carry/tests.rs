//! Files of flows, good and bad.

use podgate_flowtable::{
    Addr, Config, HashSecret, IpProtocol, Packet, Refusal, TcpFlags, TcpSegment, Timeouts, Track, Transport,
    Tuple, Way,
};

use super::*;
use crate::agent::owners::Owner;

const NOW: Time = Time::from_nanos(5_000_000_000);

fn table() -> FlowTable {
    let secret = HashSecret([1, 2]);
    let pickup_until = Time::default();
    FlowTable::new(Config { capacity: 100, secret, timeouts: Timeouts::default(), pickup_until }).unwrap()
}

fn filled(flows: u16) -> FlowTable {
    let table = table();
    for port in 0..flows {
        let tuple = Tuple {
            source: Addr::from_v4([10, 0, 0, 1]),
            destination: Addr::from_v4([10, 0, 0, 2]),
            source_port: 1000 + port,
            destination_port: 53,
            protocol: IpProtocol::UDP,
        };
        let decision = Decision { epoch: Epoch(3), egress: 17, ingress: 18, way: Way::Bridge, owner: 4 };
        let packet = Packet { tuple, transport: Transport::Udp, len_bytes: 60 };
        table.open(&packet, decision, NOW).unwrap();
    }
    table
}

fn owners() -> Owners {
    let (addr, pod) = (Addr::from_v4([10, 0, 0, 1]), "x/a".to_owned());
    Owners::inherited([(addr, Owner { pod, ifindex: Some(7) })])
}

fn left(path: &Path, flows: &FlowTable, valid_from: u32, fallback: Fallback) -> Result<usize, CarryError> {
    let (owners, handovers) = (owners(), Handovers::default());
    let estate =
        Estate { flows, owners: &owners, handovers: &handovers, valid_from: Epoch(valid_from), fallback };
    write(path, Origin(9), &estate)
}

#[test]
fn owners_come_along_and_flows_of_former_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    for (since, carried) in [(3, 5), (4, 0)] {
        let handovers = Handovers::new([(Addr::from_v4([10, 0, 0, 2]), Epoch(since))], 1);
        let (flows, owners) = (&filled(5), &owners());
        let (valid_from, fallback) = (Epoch(0), Fallback::Closed);
        let estate = Estate { flows, owners, handovers: &handovers, valid_from, fallback };
        assert_eq!(write(&path, Origin(9), &estate).unwrap(), carried);
        let (taken, inherited) = take(&path, &table(), Origin(9), NOW).unwrap();
        assert_eq!(taken, Carried { taken: carried, expired: 0, full: 0 });
        assert_eq!(inherited.to_bytes(), owners.to_bytes());
    }
}

#[test]
fn flows_come_back_until_they_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    assert_eq!(take(&path, &table(), Origin(9), NOW).unwrap().0, Carried::default());
    assert_eq!(left(&path, &filled(20), 0, Fallback::Closed).unwrap(), 20);
    let into = table();
    assert_eq!(take(&path, &into, Origin(9), NOW).unwrap().0, Carried { taken: 20, expired: 0, full: 0 });
    assert_eq!(into.len(), 20);
    assert!(into.views().all(|view| view.decision.epoch == Epoch(0) && view.decision.way == Way::Bridge));
    let again = table();
    assert_eq!(take(&path, &again, Origin(9), NOW).unwrap().0, Carried { taken: 20, expired: 0, full: 0 });
    assert_eq!(again.len(), 20, "the start may have failed");
    forget(&path).unwrap();
    assert_eq!(take(&path, &table(), Origin(9), NOW).unwrap().0, Carried::default());
    forget(&path).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    left(&path, &filled(20), 0, Fallback::Closed).unwrap();
    let later = NOW.after(std::time::Duration::from_mins(1));
    assert_eq!(
        take(&path, &table(), Origin(9), later).unwrap().0,
        Carried { taken: 0, expired: 20, full: 0 }
    );
}

#[test]
fn who_had_a_say_comes_along() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    // The flows say: epoch 3, rule 1 by egress, rule 2 by ingress.
    let carried = Cause::Carried.code();
    for (valid_from, expected) in [(0, carried), (3, carried), (4, UNASKED)] {
        left(&path, &filled(2), valid_from, Fallback::Closed).unwrap();
        let into = table();
        take(&path, &into, Origin(9), NOW).unwrap();
        for Decision { epoch, egress, ingress, .. } in into.views().map(|view| view.decision) {
            assert_eq!((epoch, egress, ingress), (Epoch(0), expected, expected), "{valid_from}");
        }
    }
    for cause in [Cause::NotLocal, Cause::NotIsolated, Cause::OwnNode, Cause::Itself, Cause::Carried] {
        assert_eq!(lasting(cause.code()), cause.code());
    }
    for code in [Cause::DefaultDeny.code(), Cause::NotReached.code(), 9] {
        assert_eq!(lasting(code), UNASKED);
    }
}

#[test]
fn connections_that_went_on_unseen_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    let tuple = Tuple {
        source: Addr::from_v4([10, 0, 0, 1]),
        destination: Addr::from_v4([10, 0, 0, 2]),
        source_port: 1000,
        destination_port: 80,
        protocol: IpProtocol::TCP,
    };
    let segment = |tuple, flags, sequence, acknowledgement, payload_len_bytes| {
        let segment = TcpSegment {
            flags,
            sequence,
            acknowledgement,
            window: 1000,
            payload_len_bytes,
            ..TcpSegment::default()
        };
        Packet { tuple, transport: Transport::Tcp(segment), len_bytes: 1500 }
    };
    let ack = TcpFlags::ACK;
    for (fallback, passes) in [(Fallback::Closed, false), (Fallback::Open, true)] {
        let before = table();
        let decision = Decision { epoch: Epoch(3), egress: 17, ingress: 18, way: Way::Bridge, owner: 4 };
        before.open(&segment(tuple, TcpFlags::SYN, 0, 0, 0), decision, NOW).unwrap();
        for packet in [
            segment(tuple.reversed(), TcpFlags::SYN.with(ack), 0, 1, 0),
            segment(tuple, ack, 1, 1, 0),
            segment(tuple.reversed(), ack, 1, 1, 0),
        ] {
            assert!(matches!(before.track(&packet, NOW), Track::Known(_)));
        }
        left(&path, &before, 0, fallback).unwrap();
        let after = table();
        take(&path, &after, Origin(9), NOW).unwrap();
        // Ten megabytes further on.
        for packet in
            [segment(tuple, ack, 10_000_001, 1, 1000), segment(tuple.reversed(), ack, 1, 10_001_001, 0)]
        {
            let track = after.track(&packet, NOW);
            assert_eq!(matches!(track, Track::Known(_)), passes, "{fallback:?}: {track:?}");
            assert!(passes || track == Track::Refused(Refusal::TcpInvalid));
        }
    }
}

#[test]
fn anything_but_a_whole_file_of_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    left(&path, &filled(3), 0, Fallback::Closed).unwrap();
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], origin: u64| {
        fs::write(&path, bytes).unwrap();
        let into = table();
        let error = take(&path, &into, Origin(origin), NOW).expect_err("refused").to_string();
        assert!(into.is_empty() && error.contains("flows.bin"), "{error}");
        error
    };
    for len in 0..good.len() {
        refused(&good[..len], 9);
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        refused(&bytes, 9);
    }
    assert!(refused(b"", 9).contains("no file of flows"));
    assert!(refused(b"flows: []\n", 9).contains("no file of flows"));
    assert!(refused(&good[..good.len() - 1], 9).contains("cut short"));
    assert!(refused(&[&good[..], &[0]].concat(), 9).contains("added"));
    assert!(refused(&good, 8).contains("another bridge or another boot"));
    let mut other = good.clone();
    other[8] = 2;
    assert!(refused(&other, 9).contains("format 2.5, this podgate reads 3.5"));
    let mut other = good.clone();
    other[60] ^= 1;
    assert!(refused(&other, 9).contains("damaged"));
}
