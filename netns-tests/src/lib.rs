//! Namespaces, pods, traffic and faults for the live tests.
//!
//! ```text
//! cases      the project's own cases, for `podgate verify`
//! turn       which tests may share the machine, and which want it alone
//! name       names that no other test has
//! space      a network namespace to run things in
//! pod        a namespace with an address: where traffic starts and ends
//! node       a bridge with pods on it, made by hand
//! manifest   what Kubernetes would say of those pods
//! program    the podgate program: run it, ask it
//! gateway    `podgate run` on a node, taken down at the end
//! cni        what a container runtime does, with real plugins
//! libcni     the library that runtimes use, calling real plugins
//! kube_proxy the rules that kube-proxy writes
//! lab        `podgate lab up`, taken down at the end
//! apiserver  a real Kubernetes API server on a node, and what a user does with it
//! events     what `podgate observe --follow` says, awaited
//! wait       conditions, awaited
//! traffic    servers, probes, floods, ping, iperf3
//! frame      frames written and read as they are on the wire
//! capture    frames of a device, recorded
//! replay     recorded segments, met by a flow table or a gate
//! routed     pods behind veths of no bridge
//! rough      a line that loses, repeats and overtakes
//! footprint  what a namespace looks like, to compare before and after
//! foreign    other people's BPF programs
//! nft        an nft that can be held back, and the gateway's loop with it
//! ```
//!
//! Everything here panics where a test could not go on: the message is for whoever reads the
//! test's output.

pub mod apiserver;
pub mod capture;
pub mod cases;
pub mod cni;
pub mod events;
pub mod footprint;
pub mod foreign;
pub mod frame;
pub mod gateway;
pub mod kube_proxy;
pub mod lab;
pub mod libcni;
pub mod manifest;
pub mod name;
pub mod nft;
pub mod node;
pub mod pod;
pub mod program;
pub mod replay;
pub mod rough;
pub mod routed;
pub mod space;
pub mod traffic;
pub mod turn;
pub mod wait;

pub use podgate_control::verify::gate::{self, GateState};

pub use apiserver::ApiServer;
pub use events::Events;
pub use footprint::Footprint;
pub use gateway::Gateway;
pub use lab::TestLab;
pub use node::Node;
pub use pod::Pod;
pub use program::Instance;
pub use routed::RoutedNode;
pub use space::Space;
pub use turn::Turn;
pub use wait::{eventually, wait_until};
