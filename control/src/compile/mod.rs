//! Model to policy table.
//!
//! ```text
//! roster     pods and nodes as endpoints: which are local, who owns which address
//! role       pods that no selector can tell apart
//! selection  which policies isolate which roles
//! blocks     ipBlocks as disjoint spans of addresses
//! rules      rules with their peers and ports as numbers
//! identity   endpoints that every policy treats alike
//! rows       the pair matrix
//! ranges     allowed ports of one pair
//! bits       sets of small numbers
//! intern     equal values to one number
//! ```
//!
//! Whatever cannot be decided is decided closed: an address that two pods claim belongs to
//! neither, a port whose pod is not known stays unbound, and a table that would not fit is an
//! error, never a part of one.

mod bits;
mod blocks;
mod identity;
mod intern;
mod ranges;
mod role;
mod roster;
mod rows;
mod rules;
mod selection;

use std::net::IpAddr;

use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::{
    Endpoint, EndpointId, EndpointKind, EndpointMap, OverlappingSpans, PolicyVerdict, TableError,
};
use podgate_dataplane::snapshot::{Isolation, Names, RuleName, Snapshot, Switches};
use podgate_dataplane::tag::PortId;
use podgate_flowtable::{Addr, Epoch, IpProtocol};

use self::identity::Identities;
use self::role::Roles;
use self::roster::Roster;
use self::rules::RuleBook;
use self::selection::Selection;
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
    /// The node of each pod, where every pod is local.
    homes: Vec<Option<EndpointId>>,
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

/// Compiles `cluster` as seen from `locality`, with `ports` bound.
pub fn compile(
    cluster: &Cluster,
    locality: &Locality,
    ports: &[PortAssignment],
    settings: Settings,
) -> Result<Compiled, CompileError> {
    let mut notes = Vec::new();
    let roster = Roster::new(cluster, locality, ports, &mut notes);
    let roles = Roles::new(cluster, &roster);
    let selection = Selection::new(cluster, &roster, &roles);
    let rules = RuleBook::new(&selection);
    let matched_peers = rules.matched_peers(cluster, roles.all());
    let identities =
        Identities::new(&roster, &roles, &selection, &rules, matched_peers, settings.limits.identities)?;
    let policy = rows::table(&identities, &selection, &rules, settings.limits.cells)?;
    let endpoints = EndpointMap::new(identities.known, identities.outside, settings.seed);
    let names = names(&roster, &roles, &selection, &rules);
    let mut snapshot = Snapshot::new(settings.epoch, endpoints, policy, settings.switches, names);
    for (port, binding) in roster.bindings() {
        snapshot.bind(port, binding);
    }
    let homes = match locality {
        Locality::Everything => roster.homes(),
        Locality::Node { .. } => Vec::new(),
    };
    Ok(Compiled { snapshot, notes, homes })
}

fn names(roster: &Roster<'_>, roles: &Roles<'_>, selection: &Selection<'_>, rules: &RuleBook<'_>) -> Names {
    let mut isolation = vec![Isolation::default(); roster.len()];
    for (at, _) in roster.pods().iter().enumerate().filter(|(_, pod)| pod.local) {
        let [ingress, egress] = selection.policies(roles.of_pod(at));
        isolation[at] = Isolation { egress: egress.into(), ingress: ingress.into() };
    }
    Names {
        policies: selection.relevant().iter().map(|policy| policy.key.to_string()).collect(),
        rules: rules.names().map(|(policy, egress, index)| RuleName { policy, egress, index }).collect(),
        endpoints: roster.names(),
        isolation,
    }
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
