//! Truth tables of NetworkPolicy: what a cluster, its policies and a sequence of changes to them
//! must allow and deny, and whether they do.
//!
//! ```text
//! read      files and directories to cases
//! format    a case as it is written
//! step      its changes and probes
//! address   the ends of a probe
//! matrix    rows of dots and crosses
//! flow      packet sequences
//! validation  manifests and what the API server says of them
//! world     the cluster of a case, as its actions change it
//! service   what a Service of a case leads to
//! question  what a step asks
//! frame     frames written as they are on the wire
//! gate      the step without devices
//! cable     the nodes of a case with their gateways, in memory
//! run       cases decided in memory
//! why       why it came out like that, in words
//! report    what came of it
//! live      cases decided by real packets
//! ```

mod address;
mod cable;
mod flow;
mod format;
pub mod frame;
pub mod gate;
mod live;
mod matrix;
mod question;
mod read;
mod report;
mod run;
mod service;
mod step;
mod validation;
mod why;
mod world;

pub use address::{Address, AddressError, Family};
pub use cable::{Cable, CableError, CableNode, Journey, Packet};
pub use flow::{
    FlagError, Flags, FlowItem, FlowPacket, FlowProtocol, FlowVerdict, Forwarding, Modes, with_answers,
};
pub use format::{
    Case, ClusterSpec, ExternalSpec, NamespaceSpec, NodeSpec, PodSpec, PortSpec, Provenance, ServicePort,
    ServiceSpec, TargetPort,
};
pub use live::{LiveError, LiveOptions, verify_live};
pub use matrix::{Hand, Matrix, MatrixError};
pub use question::{Fact, Origin, Question, QuestionError, Questions, questions};
pub use read::{CaseError, CaseFile, Fault, Files, ItemError, ValidationFile, YamlError, parse_yaml, read};
pub use report::{Failure, Mode, NotShown, Report};
pub use run::verify;
pub use step::{Action, Expectation, Judgement, Probe, Step, Transport};
pub use validation::{Validation, ValidationCase};
pub use world::{World, WorldError};
