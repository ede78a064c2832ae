//! Real programs and sockets talk, without a gateway; every segment is recorded. The parser and the
//! flow table then meet the recording, and must refuse none of it.
//!
//! Each kind of traffic has a port of its own, so that it can be told that it took place, and how
//! its connections ended.
#![allow(missing_docs)]

mod aborts;
mod forged;
mod http;
mod programs;
mod rough;
mod sockets;

use std::net::IpAddr;
use std::path::Path;

use podgate_dataplane::mac::Mac;
use podgate_flowtable::FlowView;
use podgate_netns_tests::capture::{Captured, Recording, write};
use podgate_netns_tests::replay::{Seen, Trace, assert_forwarded};
use podgate_netns_tests::{Node, Space};

/// The first of the seeds from which replays and rough lines draw; each is printed.
const SEED: u64 = 20;

/// A recording of which every segment was admitted.
pub struct Replayed {
    frames: Vec<Captured>,
    trace: Trace,
    flows: Vec<FlowView>,
}

impl Replayed {
    /// Records what passes `device` of `space` while `talk` talks, and replays it.
    #[track_caller]
    fn record(space: &Space, device: &str, talk: impl FnOnce()) -> Self {
        let recording = Recording::start(space, device);
        talk();
        let frames = recording.stop();
        keep(&frames);
        Self::of(frames, SEED)
    }

    /// Replays a recording.
    #[track_caller]
    fn of(frames: Vec<Captured>, seed: u64) -> Self {
        let trace = Trace::of(&frames);
        println!("{} segments, seed {seed}", frames.len());
        let flows = trace.assert_admitted(seed);
        Self { frames, trace, flows }
    }

    /// Asserts that a whole gate forwards it too.
    #[track_caller]
    fn assert_forwarded(&self, pods: &[(Mac, Vec<IpAddr>); 2]) {
        assert_forwarded(&self.frames, pods);
    }

    /// Asserts that `port` had so many connections that are now in one of `states`; returns what was seen.
    #[track_caller]
    fn ended(&self, port: u16, count: usize, states: &[&str]) -> Seen {
        let of_it = |flow: &&FlowView| flow.original.source_port.min(flow.original.destination_port) == port;
        let found: Vec<_> = self.flows.iter().filter(of_it).map(|flow| flow.state.name()).collect();
        let seen = self.trace.seen(port);
        println!("port {port}: {found:?}, {seen:?}");
        assert_eq!(found.len(), count, "port {port}: {found:?}");
        assert!(found.iter().all(|state| states.contains(state)), "port {port}: {found:?}");
        seen
    }
}

/// Writes a recording to the folder that `PODGATE_CAPTURES_TO` names, if it does, under the test's name.
fn keep(frames: &[Captured]) {
    let Some(folder) = std::env::var_os("PODGATE_CAPTURES_TO") else { return };
    let thread = std::thread::current();
    let name = thread.name().and_then(|name| name.rsplit("::").next()).expect("a test");
    let path = Path::new(&folder).join(name).with_extension("pcap");
    std::fs::write(&path, write(frames)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Two pods on a bridge; what passes the port of the first is recorded.
fn two_pods() -> Node {
    Node::with_pods(&["a/client", "a/server"])
}

/// The pods as a gate wants to know them; the server has one more address.
fn ends(node: &Node, also: Option<IpAddr>) -> [(Mac, Vec<IpAddr>); 2] {
    let [client, server] = [0, 1].map(|at| &node.pods[at]).map(|pod| (pod.mac, pod.addresses().to_vec()));
    [client, (server.0, server.1.into_iter().chain(also).collect())]
}
