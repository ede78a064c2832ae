//! Who is bound to what when more than one could be.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Phase, Pod};
use crate::net::Peer;

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn end(ifindex: u32, last: u8) -> PodEnd {
    let mac = |first| Mac([first, 0, 0, 0, 0, ifindex as u8]);
    PodEnd {
        host_index: ifindex,
        host_name: format!("veth{ifindex}"),
        host_mac: mac(4),
        peer: Peer { index: 2, netns_id: Some(ifindex.cast_signed()) },
        peer_mac: mac(2),
        mtu: 1500,
        addresses: vec![address(last)],
    }
}

fn cluster(pods: &[(&str, u8, Phase)]) -> Cluster {
    let mut cluster = Cluster::new();
    for (key, last, phase) in pods {
        cluster.put_pod(Pod {
            addresses: vec![address(*last)],
            phase: *phase,
            ..Pod::new(key.parse().unwrap())
        });
    }
    cluster
}

/// The pod of that name, whichever it is.
fn named(key: &str) -> PodRef {
    PodRef { key: key.parse().unwrap(), uid: None }
}

fn table(ends: &[PodEnd]) -> PortTable {
    let mut table = PortTable::default();
    for end in ends {
        let id = table.free_number().unwrap();
        table.insert(id, end, None);
    }
    table
}

/// Pods by ifindex once `cluster` is bound, and how many notes that made.
fn bound(table: &mut PortTable, cluster: &Cluster) -> (BTreeMap<u32, String>, usize) {
    let notes = table.bind(cluster, &PodStarts::default()).notes;
    let bound =
        table.iter().filter_map(|port| Some((port.device.ifindex, port.bound.as_ref()?.pod.to_string())));
    (bound.collect(), notes.len())
}

fn is(pairs: &[(u32, &str)]) -> BTreeMap<u32, String> {
    pairs.iter().map(|(ifindex, pod)| (*ifindex, (*pod).to_owned())).collect()
}

#[test]
fn of_two_devices_with_a_pods_address_neither_is_its_unless_one_was() {
    let pods = cluster(&[("x/a", 1, Phase::Running)]);
    let mut both = table(&[end(5, 1), end(6, 1)]);
    assert_eq!(bound(&mut both, &pods), (is(&[]), 1));
    both.was_of(6, named("x/a"));
    assert_eq!(bound(&mut both, &pods), (is(&[(6, "x/a")]), 0));
    // The other one has an address of a pod that is bound.
    assert_eq!(bound(&mut both, &pods), (is(&[(6, "x/a")]), 1));
    both.remove(6);
    assert_eq!(bound(&mut both, &pods), (is(&[(5, "x/a")]), 0));
}

#[test]
fn the_device_of_a_pod_that_has_ended_is_not_the_next_ones() {
    let mut table = table(&[end(5, 1)]);
    assert_eq!(bound(&mut table, &cluster(&[("x/a", 1, Phase::Running)])), (is(&[(5, "x/a")]), 0));
    let next = cluster(&[("x/a", 1, Phase::Succeeded), ("x/b", 1, Phase::Running)]);
    assert_eq!(bound(&mut table, &next), (is(&[]), 1));
    let id = table.free_number().unwrap();
    table.insert(id, &end(6, 1), None);
    assert_eq!(bound(&mut table, &next), (is(&[(6, "x/b")]), 1));
    // With nobody else who has the address, and nothing known of the former, it is.
    table.remove(6);
    assert_eq!(bound(&mut table, &cluster(&[("x/b", 1, Phase::Running)])), (is(&[(5, "x/b")]), 0));
}

#[test]
fn what_the_runtime_has_told_is_believed_above_all() {
    let pods = cluster(&[("x/a", 1, Phase::Running), ("x/b", 2, Phase::Running)]);
    let mut table = table(&[end(5, 1), end(6, 2)]);
    table.tell(5, named("x/b"));
    assert_eq!(bound(&mut table, &pods), (is(&[(6, "x/b")]), 1));
    table.tell(6, named("x/b"));
    table.tell(5, named("x/a"));
    assert_eq!(bound(&mut table, &pods), (is(&[(5, "x/a"), (6, "x/b")]), 0));
    // A port that was bound before it was told otherwise is so no longer.
    table.tell(6, named("x/c"));
    assert_eq!(bound(&mut table, &pods), (is(&[(5, "x/a")]), 1));
    // One whose pod has no manifest yet is nobody else's.
    let id = table.free_number().unwrap();
    table.insert(id, &end(7, 2), None);
    assert_eq!(bound(&mut table, &pods), (is(&[(5, "x/a"), (7, "x/b")]), 1));
}

#[test]
fn a_former_pod_does_not_outweigh_what_the_runtime_tells() {
    let mut table = table(&[end(5, 1)]);
    // The manifests still have the address at its former pod when the next one's device appears.
    assert_eq!(bound(&mut table, &cluster(&[("x/a", 1, Phase::Running)])), (is(&[(5, "x/a")]), 0));
    table.tell(5, named("x/b"));
    let next = cluster(&[("x/a", 1, Phase::Succeeded), ("x/b", 1, Phase::Running)]);
    assert_eq!(bound(&mut table, &next), (is(&[(5, "x/b")]), 0));
}

#[test]
fn a_pod_of_the_same_name_is_another_one() {
    let pods = |uid: &str, last: Option<u8>| {
        let mut cluster = Cluster::new();
        let addresses = last.into_iter().map(address).collect();
        cluster.put_pod(Pod { uid: Some(uid.into()), addresses, ..Pod::new("x/a".parse().unwrap()) });
        cluster
    };
    let told = |uid: &str| PodRef { uid: Some(uid.into()), ..named("x/a") };

    // Deleted by force and created anew, while the first one's container still runs: whether the runtime has told
    // whose it is or not, it does not live on under the labels of the next.
    for is_told in [false, true] {
        let mut table = table(&[end(5, 1)]);
        if is_told {
            table.tell(5, told("first"));
        }
        assert_eq!(bound(&mut table, &pods("first", Some(1))), (is(&[(5, "x/a")]), 0));
        assert_eq!(bound(&mut table, &pods("second", None)), (is(&[]), 1), "told: {is_told}");
        let id = table.free_number().unwrap();
        table.insert(id, &end(6, 2), None);
        assert_eq!(bound(&mut table, &pods("second", Some(2))).0, is(&[(6, "x/a")]), "told: {is_told}");
    }

    // The runtime may know of the next one before the manifests do.
    let mut early = table(&[end(5, 1)]);
    early.tell(5, told("second"));
    assert_eq!(bound(&mut early, &pods("first", Some(1))), (is(&[]), 1));
    let notes = early.bind(&pods("first", Some(1)), &PodStarts::default()).notes;
    assert!(notes[0].contains("x/a") && notes[0].contains("its UID is second, not first"), "{notes:?}");
    assert_eq!(bound(&mut early, &pods("second", Some(1))), (is(&[(5, "x/a")]), 0));

    // Of two devices with its address, it is the one that was its own, and not its namesake's.
    let mut both = table(&[end(5, 1), end(6, 1)]);
    both.was_of(5, told("first"));
    both.was_of(6, told("second"));
    assert_eq!(bound(&mut both, &pods("second", Some(1))).0, is(&[(6, "x/a")]));
}

#[test]
fn what_is_bound_is_enforced_from_the_next_snapshot_on() {
    let pods = cluster(&[("x/a", 1, Phase::Running)]);
    let mut table = table(&[end(5, 1)]);
    let enforced = |table: &PortTable| {
        let port = table.iter().next().unwrap();
        port.enforced.as_ref().map(|bound| bound.pod.to_string())
    };
    table.bind(&pods, &PodStarts::default());
    assert_eq!(enforced(&table), None, "no snapshot was made");
    table.in_force(|_| true, Time::default());
    assert_eq!(enforced(&table).as_deref(), Some("x/a"));
    table.bind(&Cluster::new(), &PodStarts::default());
    assert_eq!(enforced(&table).as_deref(), Some("x/a"), "the one before is still in force");
    table.in_force(|_| false, Time::default());
    assert_eq!(enforced(&table), None);
}

#[test]
fn a_number_rests_while_the_snapshot_has_it() {
    let mut table = table(&[]);
    let all: Vec<_> = (1..MAX_PORTS as u32).collect();
    for ifindex in &all {
        let id = table.free_number().unwrap();
        table.insert(id, &end(*ifindex, 1), None);
    }
    assert_eq!(table.free_number(), None);
    let gone = table.remove(7).unwrap().id;
    assert_eq!(table.free_number(), None);
    table.in_force(|_| true, Time::default());
    assert_eq!(table.free_number(), Some(gone));
}

#[test]
fn a_new_pod_waits_from_the_later_of_port_and_manifest() {
    let at = |ms: u64| Time::default().after(Duration::from_millis(ms));
    for (port_at, named_at, expected) in [
        (Some(at(3)), Some(at(5)), vec![Duration::from_millis(5)]),
        (Some(at(8)), Some(at(5)), vec![Duration::from_millis(2)]),
        (Some(at(8)), None, vec![Duration::from_millis(2)]),
        (None, Some(at(9)), vec![Duration::from_millis(1)]),
        (None, None, vec![]),
    ] {
        let mut table = PortTable::default();
        let id = table.free_number().unwrap();
        table.insert(id, &end(5, 1), port_at);
        let (pods, mut starts) = (cluster(&[("x/a", 1, Phase::Running)]), PodStarts::default());
        if let Some(noticed) = named_at {
            starts.follow(&Cluster::new(), &pods, noticed);
        }
        table.bind(&pods, &starts);
        assert!(table.in_force(|_| false, at(9)).is_empty(), "not in the snapshot");
        assert_eq!(table.in_force(|_| true, at(10)), expected);
        assert!(table.in_force(|_| true, at(11)).is_empty(), "once");
    }
}

/// An end with more than its own address.
fn end_with(ifindex: u32, lasts: &[u8]) -> PodEnd {
    PodEnd { addresses: lasts.iter().map(|last| address(*last)).collect(), ..end(ifindex, 0) }
}

#[test]
fn over_a_restart_a_port_is_whose_it_was_whatever_it_has_given_itself() {
    let pods = cluster(&[("x/a", 1, Phase::Running), ("x/b", 2, Phase::Running)]);
    // Nothing is known of before: of two pods' addresses neither is believed.
    let mut unknown = table(&[end_with(5, &[1, 2]), end(6, 2)]);
    assert_eq!(bound(&mut unknown, &pods), (is(&[(6, "x/b")]), 1));
    let mut known = table(&[end_with(5, &[1, 2]), end(6, 2)]);
    known.was_of(5, named("x/a"));
    known.was_of(6, named("x/b"));
    assert_eq!(bound(&mut known, &pods), (is(&[(5, "x/a"), (6, "x/b")]), 0));
    let formers: Vec<_> = known.formers().into_values().map(|behind| (behind.device, behind.pod)).collect();
    assert_eq!(formers, [("veth5".into(), "x/a".into()), ("veth6".into(), "x/b".into())]);
    // It has only the other's address by now.
    let mut taken = table(&[end(5, 2), end(6, 2)]);
    taken.was_of(5, named("x/a"));
    taken.was_of(6, named("x/b"));
    assert_eq!(bound(&mut taken, &pods), (is(&[(6, "x/b")]), 1));
}

#[test]
fn a_pod_with_addresses_of_others_is_told_of() {
    let pods = cluster(&[("x/a", 1, Phase::Running), ("x/b", 2, Phase::Running)]);
    let mut both = table(&[end(5, 1), end(6, 2)]);
    both.bind(&pods, &PodStarts::default());
    assert_eq!(both.strays(&pods), Vec::<String>::new());
    assert_eq!(both.note(&end_with(5, &[1, 2]), None), Noted::Unchanged);
    assert_eq!(both.note(&end_with(6, &[2, 9]), None), Noted::Unchanged);
    let told = both.strays(&pods);
    assert_eq!(told.len(), 2);
    for part in ["veth5", "x/a", "10.0.0.2", "x/b's, behind veth6", "spoofed-ip"] {
        assert!(told[0].contains(part), "{part} in: {}", told[0]);
    }
    assert!(
        told[1].contains("veth6") && told[1].contains("10.0.0.9") && !told[1].contains("'s"),
        "{}",
        told[1]
    );
}
