//! Files of flows, good and bad.

use podgate_flowtable::{Addr, Config, HashSecret, IpProtocol, Packet, Timeouts, Transport, Tuple, Way};

use super::*;

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

#[test]
fn flows_come_back_until_they_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    assert_eq!(take(&path, &table(), Origin(9), NOW).unwrap(), Carried::default());
    assert_eq!(write(&path, &filled(20), Origin(9), Epoch(0)).unwrap(), 20);
    let into = table();
    assert_eq!(take(&path, &into, Origin(9), NOW).unwrap(), Carried { taken: 20, expired: 0, full: 0 });
    assert_eq!(into.len(), 20);
    assert!(into.views().all(|view| view.decision.epoch == Epoch(0) && view.decision.way == Way::Bridge));
    let again = table();
    assert_eq!(take(&path, &again, Origin(9), NOW).unwrap(), Carried { taken: 20, expired: 0, full: 0 });
    assert_eq!(again.len(), 20, "the start may have failed");
    forget(&path).unwrap();
    assert_eq!(take(&path, &table(), Origin(9), NOW).unwrap(), Carried::default());
    forget(&path).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    write(&path, &filled(20), Origin(9), Epoch(0)).unwrap();
    let later = NOW.after(std::time::Duration::from_mins(1));
    assert_eq!(take(&path, &table(), Origin(9), later).unwrap(), Carried { taken: 0, expired: 20, full: 0 });
}

#[test]
fn who_had_a_say_comes_along() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    // The flows say: epoch 3, rule 1 by egress, rule 2 by ingress.
    let carried = Cause::Carried.code();
    for (valid_from, expected) in [(0, carried), (3, carried), (4, UNASKED)] {
        write(&path, &filled(2), Origin(9), Epoch(valid_from)).unwrap();
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
fn anything_but_a_whole_file_of_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows.bin");
    write(&path, &filled(3), Origin(9), Epoch(0)).unwrap();
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
    other[8] = 3;
    assert!(refused(&other, 9).contains("format 3.4, this podgate reads 2.4"));
    let mut other = good.clone();
    other[60] ^= 1;
    assert!(refused(&other, 9).contains("damaged"));
}
