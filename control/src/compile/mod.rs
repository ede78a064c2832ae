//! Model to policy table.
//!
//! ```text
//! compiler   what is kept between compilations, and the stages in their order
//! seen       what has changed between two clusters
//! counted    values in use, under numbers
//! roster     pods as endpoints: which are local, what is behind a port
//! nodes      nodes as endpoints
//! numbers    numbers of both
//! plugged    what pods are plugged in with
//! claims     who owns which address
//! role       pods that no selector can tell apart
//! selection  which policies isolate which roles
//! rules      rules with their peers and ports as numbers
//! matches    which peers match which roles
//! blocks     ipBlocks as disjoint spans of addresses
//! identity   endpoints that every policy treats alike
//! rows       the pair matrix
//! cells      cells of one row of it
//! ranges     allowed ports of one pair
//! naming     names for all numbers
//! bits       sets of small numbers
//! ```
//!
//! Every stage keeps what it found, takes over what the stages before it have found to differ, and
//! tells those after it what differs now. Numbers (of endpoints, policies, rules, identities) stay
//! the same for as long as what they stand for is there and is the same, and no number goes from one
//! thing to another within one compilation.
//!
//! Whatever cannot be decided is decided closed: an address that two pods claim belongs to
//! neither, a port whose pod is not known stays unbound, and a table that would not fit is an
//! error, never a part of one.

mod bits;
mod blocks;
mod cells;
mod claims;
mod compiler;
mod counted;
mod identity;
mod matches;
mod naming;
mod nodes;
mod numbers;
mod plugged;
mod ranges;
mod role;
mod roster;
mod rows;
mod rules;
mod seen;
mod selection;

use std::net::IpAddr;

use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::{
    Endpoint, EndpointId, EndpointKind, OverlappingSpans, PolicyVerdict, TableError,
};
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::tag::PortId;
use podgate_flowtable::{Addr, Epoch, IpProtocol};

pub use self::compiler::Compiler;
use crate::model::{Cluster, ObjectKey};

/// Which pods this gateway answers for, and which node is its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Locality {
    /// One node's gateway: local are the pods bound to the node, and those plugged in here.
    Node {
        /// The node's name; without one, local are the pods that are bound to no node.
        name: Option<String>,
        /// All addresses of this machine; they count whatever the Node object says.
        own_addresses: Vec<IpAddr>,
    },
    /// All pods, for tools and tests. No node is its own; see [`Compiled::decide`].
    Everything,
}

/// A guarded port and the pod behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortAssignment {
    /// The port.
    pub port: PortId,
    /// The pod.
    pub pod: ObjectKey,
    /// The MAC address of the pod's own device.
    pub mac: Mac,
    /// The pod's addresses as they were plugged in. Link-local ones are the pod's; others must
    /// agree with its status, unless that has none.
    pub addresses: Vec<IpAddr>,
}

/// What a table may grow to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Identities.
    pub identities: usize,
    /// Cells of both halves, 4 bytes each.
    pub cells: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { identities: 1 << 16, cells: 15 << 20 }
    }
}

/// What a snapshot is stamped with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Its number.
    pub epoch: Epoch,
    /// The step's switches.
    pub switches: Switches,
    /// Keys the hash of addresses; random in production.
    pub seed: u64,
    /// What the table may grow to.
    pub limits: Limits,
}

impl Settings {
    /// Default switches and limits.
    pub fn new(epoch: Epoch, seed: u64) -> Self {
        Self { epoch, switches: Switches::default(), seed, limits: Limits::default() }
    }
}

/// A finished snapshot and what an operator should know of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The snapshot, ports bound.
    pub snapshot: Snapshot,
    /// What was decided closed for want of better knowledge.
    pub notes: Vec<Note>,
    /// How large it is.
    pub sizes: Sizes,
    /// What it took.
    pub work: Work,
    /// The node of each pod, where every pod is local.
    homes: Vec<Option<EndpointId>>,
}

/// How much there is of everything in a compiled policy. What is no longer in use does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Pods with a network of their own, and nodes.
    pub endpoints: usize,
    /// Addresses of endpoints.
    pub addresses: usize,
    /// Identities.
    pub identities: usize,
    /// Rows of both halves of the table: what isolates some pod of this node in one direction.
    pub rows: usize,
    /// Pairs of a row and an identity: the cells that [`Limits::cells`] is about.
    pub pairs: usize,
    /// Policies that isolate some pod of this node.
    pub policies: usize,
    /// Rules of those.
    pub rules: usize,
}

/// What a compilation took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// Whether what was known from the compilation before it was used.
    pub incremental: bool,
    /// Pods that came, went or changed.
    pub pods: usize,
    /// Policies that came, went or changed.
    pub policies: usize,
    /// Namespaces that came, went or changed.
    pub namespaces: usize,
    /// Endpoints whose addresses were looked up anew.
    pub endpoints: usize,
    /// Rows of the table worked out.
    pub rows: usize,
    /// Cells of the table worked out, those of new rows included.
    pub cells: usize,
}

/// Something in the cluster that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// Several live endpoints claim one address; it belongs to none of them.
    #[error(
        "{address} is claimed by {}: it belongs to none of them until that is settled",
        claimants.join(" and ")
    )]
    ContestedAddress {
        /// The address.
        address: Addr,
        /// `namespace/name` or `node:name`.
        claimants: Vec<String>,
    },
    /// A port whose pod is not there, has ended, or uses its node's network.
    #[error("port {} stays unbound: {pod} is no live pod with a network of its own", port.number())]
    UnboundPort {
        /// The port.
        port: PortId,
        /// The pod it was assigned to.
        pod: ObjectKey,
    },
    /// A second port for a pod, or a second pod for a port.
    #[error("port {} stays unbound for {pod}: one of the two is assigned already", port.number())]
    RepeatedAssignment {
        /// The port.
        port: PortId,
        /// The pod.
        pod: ObjectKey,
    },
    /// An address that was plugged in but is not in the pod's status.
    #[error("{address} of {pod} is left out: it is not among the addresses in the pod's status")]
    ForeignAddress {
        /// The address.
        address: Addr,
        /// The pod.
        pod: ObjectKey,
    },
}

/// Why there is no table. The one before stays in force.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More identities than the limit.
    #[error("{needed} identities where {limit} are allowed; fewer distinct labels or ipBlocks make fewer")]
    Identities {
        /// Needed, at least.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// More cells than the limit.
    #[error("{needed} pairs of identities where {limit} are allowed; fewer distinct selectors make fewer")]
    Cells {
        /// Needed.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// The parts of the table do not fit together: a fault of this compiler.
    #[error("the compiled parts do not fit together: {0}")]
    Table(#[from] TableError),
    /// The address spans do not fit together: a fault of this compiler.
    #[error("the compiled address spans do not fit together: {0}")]
    Spans(#[from] OverlappingSpans),
}

/// Compiles `cluster` as seen from `locality`, with `ports` bound: once, from scratch.
pub fn compile(
    cluster: &Cluster,
    locality: &Locality,
    ports: &[PortAssignment],
    settings: Settings,
) -> Result<Compiled, CompileError> {
    Compiler::new().compile(cluster, locality, ports, settings)
}

impl Compiled {
    /// What policy says of a new flow between two addresses, `port` the destination's. Where every
    /// pod is local each has its own node: the one it is bound to.
    pub fn decide(&self, source: Addr, destination: Addr, protocol: IpProtocol, port: u16) -> PolicyVerdict {
        let mut from = self.snapshot.endpoints.resolve(source);
        let mut to = self.snapshot.endpoints.resolve(destination);
        let home = |of: Endpoint| of.id.and_then(|id| self.homes.get(id.0 as usize).copied().flatten());
        let is_home = |node: Endpoint, of| {
            node.kind == EndpointKind::OtherNode && node.id.is_some() && node.id == home(of)
        };
        if is_home(from, to) {
            from.kind = EndpointKind::OwnNode;
        } else if is_home(to, from) {
            to.kind = EndpointKind::OwnNode;
        }
        self.snapshot.decide(&from, &to, protocol, port)
    }
}
