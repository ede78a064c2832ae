//! What podgate should allow, and the program that says so.
//!
//! ```text
//! model    Kubernetes objects as podgate uses them
//! source   where they come from: a directory, watched
//! compile  model to snapshot
//! service  which backends a Service's ports lead to
//! dns      the names of Services and pods
//! oracle   the naive evaluator that tests compare with
//! fence    an nft table that closes pods' veths until they are guarded
//! net      namespaces, links, bridges and qdiscs, over netlink
//! lab      a node and its pods as network namespaces
//! tools    what can be said of policies without a gateway
//! verify   what policies must allow and deny, and whether they do
//! agent    attach, publish, supervise
//! api      the local socket: status, events and flows
//! cni      the CNI plugin, and how it gets on a node
//! cli      one file a command
//! ```

pub mod agent;
pub mod api;
pub mod cli;
pub mod cni;
pub mod compile;
pub mod dns;
pub mod fence;
pub mod lab;
pub mod model;
pub mod net;
pub mod oracle;
pub mod service;
pub mod source;
pub mod tools;
pub mod verify;
