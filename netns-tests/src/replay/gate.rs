//! Captured frames, judged by the step that the workers run.

use std::net::IpAddr;

use podgate_control::compile::{Locality, PortAssignment, Settings, compile};
use podgate_control::model::{Cluster, Labels, Namespace, ObjectKey, Phase, Pod};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::{PortId, Tag};
use podgate_dataplane::verdict::Verdict;
use podgate_flowtable::Epoch;

use super::Trace;
use crate::capture::Captured;
use crate::gate::{GateState, tagged};

/// Asserts that a gate between these two pods (MAC address, addresses) forwards every frame, as it
/// comes from its sender and, put back into the bridge, once more to its receiver. There is no policy.
#[track_caller]
pub fn assert_forwarded(frames: &[Captured], pods: &[(Mac, Vec<IpAddr>); 2]) {
    let mut cluster = Cluster::new();
    cluster.put_namespace(Namespace::new("a", Labels::new()));
    let mut assignments = Vec::new();
    for (number, (mac, addresses)) in (1..).zip(pods) {
        let key = ObjectKey::new("a", format!("pod{number}"));
        let port = PortId::new(number).expect("a port");
        cluster.put_pod(Pod {
            node: Some("node".to_owned()),
            addresses: addresses.clone(),
            phase: Phase::Running,
            ..Pod::new(key.clone())
        });
        assignments.push(PortAssignment { port, pod: key, mac: *mac, addresses: addresses.clone() });
    }
    let locality = Locality::Node { name: Some("node".to_owned()), own_addresses: Vec::new() };
    let compiled = compile(&cluster, &locality, &assignments, Settings::new(Epoch(1), 7));
    let snapshot = compiled.expect("two pods").snapshot;
    let state = GateState::new(4096, 64);
    for (at, captured) in frames.iter().enumerate() {
        let frame = captured.frame();
        let end = |mac: &[u8]| pods.iter().position(|(own, _)| own.0 == *mac).expect("one of the two");
        let ports = [end(&frame[6..12]), end(&frame[..6])];
        let [from, to] = ports.map(|end| PortId::new(end as u16 + 1).expect("a port"));
        // As if its sender had put it into the bridge: what comes from there is not believed otherwise.
        state.departures.note(from, captured.time);
        for tag in [Tag::from_pod(from), Tag::to_pod(to)] {
            let verdict = state.gate(&snapshot).step(&mut tagged(tag, &frame), captured.time);
            let story = || Trace::of(frames).story(at);
            assert!(matches!(verdict, Verdict::Forward(_)), "{tag:?}: {verdict:?}\n{}", story());
        }
    }
}
