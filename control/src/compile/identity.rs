//! Identities: endpoints that every policy treats alike share one.
//!
//! An identity belongs to an address, not to a pod: the two addresses of a dual-stack pod may be
//! in different ipBlocks, while selectors and isolation cover both.

use podgate_dataplane::policy::{Endpoint, EndpointId, PrefixMap, Span};
use podgate_flowtable::Addr;

use super::CompileError;
use super::bits::Bits;
use super::blocks::Blocks;
use super::intern::Interner;
use super::role::Roles;
use super::roster::Roster;
use super::rules::RuleBook;
use super::selection::{Selection, SetId};
use crate::model::{Pod, Protocol};

/// Named ports of a pod as far as any rule asks for them: name, protocol, number; sorted.
pub(super) type PortMap<'a> = Vec<(&'a str, Protocol, u16)>;

/// The number of a [`PortMap`].
pub(super) type PortMapId = u32;

/// The map of an endpoint that has no named ports.
pub(super) const NO_PORTS: PortMapId = 0;

/// What makes two addresses the same to every policy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Identity {
    /// Outside, or a node.
    Address {
        v6: bool,
        /// The ipBlocks it is in, see [`Blocks`].
        class: u32,
    },
    /// A pod's address.
    Pod {
        /// The number of the set of pod peers that match it.
        peers: u32,
        ports: PortMapId,
        /// The ipBlocks it is in.
        class: u32,
        /// What isolates it for ingress and egress; here nothing isolates a pod of another node.
        sets: [Option<SetId>; 2],
    },
}

/// All identities, and the addresses that have them.
pub(super) struct Identities<'a> {
    pub(super) known: Vec<(Addr, Endpoint)>,
    pub(super) outside: PrefixMap,
    all: Vec<Identity>,
    peer_sets: Vec<Bits>,
    port_maps: Vec<PortMap<'a>>,
}

impl<'a> Identities<'a> {
    pub(super) fn new(
        roster: &Roster<'a>,
        roles: &Roles<'a>,
        selection: &Selection<'_>,
        rules: &RuleBook<'_>,
        matched_peers: Vec<Bits>,
        limit: usize,
    ) -> Result<Self, CompileError> {
        let mut table = Interner::default();
        // The map of addresses outside gives these two to whatever is in no span.
        for (v6, number) in [(false, PrefixMap::OUTSIDE_V4), (true, PrefixMap::OUTSIDE_V6)] {
            let reserved = table.intern(Identity::Address { v6, class: Blocks::NONE });
            debug_assert_eq!(reserved, number);
        }
        let mut peer_sets = Interner::default();
        let peers_of_role: Vec<u32> = matched_peers.into_iter().map(|bits| peer_sets.intern(bits)).collect();
        let mut port_maps = Interner::default();
        port_maps.intern(PortMap::new());
        let mut known = Vec::new();
        for (at, entry) in roster.pods().iter().enumerate() {
            let role = roles.of_pod(at);
            let ports = port_maps.intern(asked_ports(entry.pod, entry.local, rules));
            let sets = if entry.local { selection.sets(role) } else { [None, None] };
            for address in &entry.addresses {
                let class = rules.blocks.class(*address);
                let identity = table.intern(Identity::Pod { peers: peers_of_role[role], ports, class, sets });
                let id = Some(EndpointId(at as u32));
                known.push((*address, Endpoint { identity, kind: entry.kind(), id }));
            }
        }
        for (address, kind, id) in roster.node_addresses() {
            let identity = table.intern(outside(address, rules.blocks.class(address)));
            known.push((address, Endpoint { identity, kind, id: Some(id) }));
        }
        let spans = rules.blocks.spans().iter().map(|span| Span {
            first: span.first,
            last: span.last,
            identity: table.intern(outside(span.first, span.class)),
        });
        let outside = PrefixMap::new(spans.collect())?;
        let all = table.into_values();
        if all.len() > limit {
            return Err(CompileError::Identities { needed: all.len(), limit });
        }
        Ok(Self {
            known,
            outside,
            all,
            peer_sets: peer_sets.into_values(),
            port_maps: port_maps.into_values(),
        })
    }

    /// Every identity, by number.
    pub(super) fn all(&self) -> &[Identity] {
        &self.all
    }

    /// The pod peers in a set.
    pub(super) fn peers(&self, set: u32) -> &Bits {
        &self.peer_sets[set as usize]
    }

    /// Named ports.
    pub(super) fn port_map(&self, id: PortMapId) -> &PortMap<'a> {
        &self.port_maps[id as usize]
    }
}

impl Identity {
    /// The set of pod peers that match it.
    pub(super) fn peers(&self) -> Option<u32> {
        match self {
            Self::Address { .. } => None,
            Self::Pod { peers, .. } => Some(*peers),
        }
    }

    /// The ipBlocks it is in.
    pub(super) fn class(&self) -> u32 {
        match self {
            Self::Address { class, .. } | Self::Pod { class, .. } => *class,
        }
    }

    /// Its named ports.
    pub(super) fn ports(&self) -> PortMapId {
        match self {
            Self::Address { .. } => NO_PORTS,
            Self::Pod { ports, .. } => *ports,
        }
    }

    /// What isolates it for ingress and egress.
    pub(super) fn sets(&self) -> [Option<SetId>; 2] {
        match self {
            Self::Address { .. } => [None, None],
            Self::Pod { sets, .. } => *sets,
        }
    }
}

fn outside(address: Addr, class: u32) -> Identity {
    Identity::Address { v6: !address.is_v4(), class }
}

/// Ingress rules ask for ports of the pods they isolate, which are local; egress rules for those
/// of any pod.
fn asked_ports<'a>(pod: &'a Pod, local: bool, rules: &RuleBook<'_>) -> PortMap<'a> {
    let asked = |name: &&str| rules.asks_for(name, 1) || (local && rules.asks_for(name, 0));
    let named = pod.ports.iter().filter_map(|port| {
        let name = port.name.as_deref().filter(asked)?;
        Some((name, port.protocol, port.port))
    });
    let mut map: PortMap<'_> = named.collect();
    map.sort_unstable();
    map.dedup();
    map
}
