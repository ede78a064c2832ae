//! Identities: endpoints that every policy treats alike share one.
//!
//! An identity belongs to an address, not to a pod: the two addresses of a dual-stack pod may be
//! in different ipBlocks, while selectors and isolation cover both.

use podgate_dataplane::policy::{Endpoint, EndpointId, EndpointMap, PrefixMap, Span};
use podgate_flowtable::Addr;

use super::CompileError;
use super::bits::Bits;
use super::blocks::Blocks;
use super::counted::Counted;
use super::matches::Matches;
use super::role::Roles;
use super::roster::{PodEntry, Roster};
use super::rules::RuleBook;
use super::selection::{Selection, SetId};
use crate::model::Protocol;

/// Named ports of a pod as far as any rule asks for them: name, protocol, number; sorted.
pub(super) type PortMap = Vec<(String, Protocol, u16)>;

/// The number of a [`PortMap`].
pub(super) type PortMapId = u32;

/// The map of an endpoint that has no named ports.
pub(super) const NO_PORTS: PortMapId = 0;

/// What makes two addresses the same to every policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
pub(super) struct Identities {
    table: Counted<Identity>,
    port_maps: Counted<PortMap>,
    /// By endpoint.
    pods: Vec<Option<Held>>,
    nodes: Vec<Owned>,
    /// The identities of spans outside.
    spans: Vec<u32>,
    endpoints: EndpointMap,
}

/// What a pod has.
struct Held {
    ports: PortMapId,
    addresses: Vec<Owned>,
}

/// An address in the map, and what was found for it.
struct Owned {
    address: Addr,
    class: u32,
    identity: u32,
}

/// All that identities are made of.
pub(super) struct Sources<'a> {
    pub(super) roster: &'a Roster,
    pub(super) roles: &'a Roles,
    pub(super) selection: &'a Selection,
    pub(super) rules: &'a RuleBook,
    pub(super) matches: &'a Matches,
    pub(super) blocks: &'a Blocks,
}

impl Identities {
    /// Without any address; `seed` keys the hash of addresses.
    pub(super) fn new(seed: u64) -> Self {
        let mut table = Counted::default();
        // The map of addresses outside gives these two to whatever is in no span.
        for (v6, number) in [(false, PrefixMap::OUTSIDE_V4), (true, PrefixMap::OUTSIDE_V6)] {
            let reserved = table.acquire(Identity::Address { v6, class: Blocks::NONE });
            debug_assert_eq!(reserved, number);
        }
        let mut port_maps = Counted::default();
        port_maps.acquire(PortMap::new());
        let endpoints = EndpointMap::new([], PrefixMap::default(), seed);
        Self { table, port_maps, pods: Vec::new(), nodes: Vec::new(), spans: Vec::new(), endpoints }
    }

    /// Finds out anew what the `touched` pods are, those in one of the `roles`, and whoever else is
    /// concerned by a change of blocks or of the ports asked for. Returns how many pods that were.
    pub(super) fn update(
        &mut self,
        mut touched: Vec<u32>,
        roles: &Bits,
        from: &Sources<'_>,
    ) -> Result<usize, CompileError> {
        let blocks_changed = from.rules.blocks().has_changed();
        let names_changed = from.rules.port_names().has_changed();
        touched.extend(from.roles.pods_in(roles));
        if blocks_changed || names_changed {
            let concerned = from.roster.pods().filter(|(number, entry)| {
                (names_changed && entry.pod.ports.iter().any(|port| port.name.is_some()))
                    || (blocks_changed && self.is_in_other_blocks(*number, from.blocks))
            });
            touched.extend(concerned.map(|(number, _)| number));
        }
        touched.sort_unstable();
        touched.dedup();
        // An address may pass from one to another: all are taken out before any is put in.
        self.pods.resize_with(self.pods.len().max(from.roster.bound()), || None);
        let before: Vec<Held> =
            touched.iter().filter_map(|number| self.pods[*number as usize].take()).collect();
        for owned in before.iter().flat_map(|held| &held.addresses) {
            self.endpoints.remove(owned.address);
        }
        if blocks_changed || from.roster.touched().nodes {
            let nodes = std::mem::take(&mut self.nodes);
            for owned in &nodes {
                self.endpoints.remove(owned.address);
            }
            self.put_nodes(from);
            self.table.release_all(nodes.iter().map(|owned| owned.identity));
        }
        for number in &touched {
            if let Some(entry) = from.roster.pod(*number) {
                self.put_pod(*number, entry, from);
            }
        }
        for held in before {
            self.port_maps.release(held.ports);
            self.table.release_all(held.addresses.iter().map(|owned| owned.identity));
        }
        if blocks_changed {
            self.put_outside(from.blocks)?;
        }
        Ok(touched.len())
    }

    /// Every identity.
    pub(super) fn all(&self) -> &Counted<Identity> {
        &self.table
    }

    /// Named ports.
    pub(super) fn port_map(&self, id: PortMapId) -> &PortMap {
        self.port_maps.value(id)
    }

    /// All addresses.
    pub(super) fn endpoints(&self) -> &EndpointMap {
        &self.endpoints
    }

    pub(super) fn settle(&mut self) {
        self.table.settle();
        self.port_maps.settle();
    }

    fn is_in_other_blocks(&self, number: u32, blocks: &Blocks) -> bool {
        let held = self.pods.get(number as usize).and_then(Option::as_ref);
        held.is_some_and(|held| held.addresses.iter().any(|owned| blocks.class(owned.address) != owned.class))
    }

    fn put_pod(&mut self, number: u32, entry: &PodEntry, from: &Sources<'_>) {
        let Some(role) = from.roles.of_pod(number) else { return };
        let ports = self.port_maps.acquire(asked_ports(entry, from.rules));
        let peers = from.matches.of_role(role);
        let sets = if entry.local { from.selection.sets(role) } else { [None, None] };
        let (kind, id) = (entry.kind(), Some(EndpointId(number)));
        let addresses = from.roster.addresses(entry).map(|address| {
            let class = from.blocks.class(address);
            let identity = self.table.acquire(Identity::Pod { peers, ports, class, sets });
            self.endpoints.insert(address, Endpoint { identity, kind, id });
            Owned { address, class, identity }
        });
        let addresses = addresses.collect();
        self.pods[number as usize] = Some(Held { ports, addresses });
    }

    fn put_nodes(&mut self, from: &Sources<'_>) {
        for (address, kind, id) in from.roster.node_addresses() {
            let class = from.blocks.class(address);
            let identity = self.table.acquire(outside(address, class));
            self.endpoints.insert(address, Endpoint { identity, kind, id: Some(id) });
            self.nodes.push(Owned { address, class, identity });
        }
    }

    fn put_outside(&mut self, blocks: &Blocks) -> Result<(), CompileError> {
        let spans = blocks.spans().iter().map(|span| Span {
            first: span.first,
            last: span.last,
            identity: self.table.acquire(outside(span.first, span.class)),
        });
        let spans: Vec<Span> = spans.collect();
        let before = std::mem::replace(&mut self.spans, spans.iter().map(|span| span.identity).collect());
        self.table.release_all(before);
        self.endpoints.set_outside(PrefixMap::new(spans)?);
        Ok(())
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
fn asked_ports(entry: &PodEntry, rules: &RuleBook) -> PortMap {
    let asked = |egress, name: &str| rules.asks_for(egress, name);
    let named = entry.pod.ports.iter().filter_map(|port| {
        let name = port.name.as_deref()?;
        let is_asked = asked(true, name) || (entry.local && asked(false, name));
        is_asked.then(|| (name.to_owned(), port.protocol, port.port))
    });
    let mut map: PortMap = named.collect();
    map.sort_unstable();
    map.dedup();
    map
}
