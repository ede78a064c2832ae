//! Cells of one row.
//!
//! They are made rule by rule: identities start out alike and part where a rule matches some of them,
//! so that the ports of each distinct combination of rules are worked out once.

use std::collections::HashMap;

use podgate_dataplane::policy::{ListId, RangeList};

use super::counted::Counted;
use super::identity::{Identities, NO_PORTS, PortMapId, Sources};
use super::ranges::{asks_for_names, range_list};
use super::rules::{PeerSet, RuleEntry};
use crate::model::Ports;

/// The list that allows nothing.
pub(super) const NOTHING: ListId = ListId(0);

/// Identities for which cells are to be made, and the places among them of those that each distinct
/// peer stands for.
pub(super) struct Columns {
    identities: Vec<u32>,
    of_peer: Vec<Vec<u32>>,
    of_block: Vec<Vec<u32>>,
}

impl Columns {
    pub(super) fn new(identities: Vec<u32>, known: &Identities, from: &Sources<'_>) -> Self {
        let mut of_peer = vec![Vec::new(); from.rules.peers().bound()];
        let mut of_block = vec![Vec::new(); from.rules.blocks().bound()];
        for (place, number) in (0..).zip(&identities) {
            let identity = known.all().value(*number);
            if let Some(peers) = identity.peers() {
                from.matches.peers(peers).iter().for_each(|peer| of_peer[peer].push(place));
            }
            from.blocks.blocks(identity.class()).iter().for_each(|block| of_block[block].push(place));
        }
        Self { identities, of_peer, of_block }
    }

    /// The identities, by place.
    pub(super) fn identities(&self) -> &[u32] {
        &self.identities
    }
}

/// Whose named ports count: those of the destination.
#[derive(Clone, Copy)]
pub(super) enum NamedPorts {
    OfSubject(PortMapId),
    OfPeer,
}

/// Identities that the same rules match, so far.
#[derive(Clone, Default)]
struct Class {
    /// Positions in the row's rules, ascending.
    rules: Vec<usize>,
    /// A rule without ports is among them: no other can add anything.
    complete: bool,
    named: bool,
}

/// The cells of one row, one for each column.
pub(super) fn cells(
    columns: &Columns,
    rules: &[(&RuleEntry, &Ports)],
    side: NamedPorts,
    known: &Identities,
    lists: &mut Counted<RangeList>,
) -> Vec<ListId> {
    let count = columns.identities.len();
    let mut classes = vec![Class::default()];
    let mut of_place = vec![0_u32; count];
    for (position, (rule, ports)) in rules.iter().enumerate() {
        // The class that each class becomes for those whom this rule matches.
        let mut parted: Vec<Option<u32>> = vec![None; classes.len()];
        let mut part = |place: u32| {
            let from = of_place[place as usize] as usize;
            // Several peers of the rule may stand for it.
            if classes[from].complete || classes[from].rules.last() == Some(&position) {
                return;
            }
            of_place[place as usize] = *parted[from].get_or_insert_with(|| {
                let mut class = classes[from].clone();
                class.rules.push(position);
                class.complete = **ports == Ports::Every;
                class.named |= asks_for_names(ports);
                classes.push(class);
                classes.len() as u32 - 1
            });
        };
        match &rule.peers {
            PeerSet::Any => (0..count as u32).for_each(&mut part),
            PeerSet::AnyOf { atoms, blocks } => {
                let peers = atoms.iter().flat_map(|atom| &columns.of_peer[*atom as usize]);
                let blocks = blocks.iter().flat_map(|block| &columns.of_block[*block as usize]);
                peers.chain(blocks).copied().for_each(&mut part);
            }
        }
    }
    let mut list = |class: &Class, ports: PortMapId| {
        let matching = class.rules.iter().map(|position| (rules[*position].0.id, rules[*position].1));
        ListId(lists.acquire(range_list(matching, known.port_map(ports))))
    };
    let mut alike: Vec<Option<ListId>> = vec![None; classes.len()];
    alike[0] = Some(NOTHING);
    let mut named: HashMap<(u32, PortMapId), ListId> = HashMap::new();
    let cell = |(number, identity): (&u32, &u32)| {
        let class = &classes[*number as usize];
        match side {
            NamedPorts::OfPeer if class.named => {
                let ports = known.all().value(*identity).ports();
                *named.entry((*number, ports)).or_insert_with(|| list(class, ports))
            }
            NamedPorts::OfPeer => *alike[*number as usize].get_or_insert_with(|| list(class, NO_PORTS)),
            NamedPorts::OfSubject(ports) => {
                *alike[*number as usize].get_or_insert_with(|| list(class, ports))
            }
        }
    };
    of_place.iter().zip(&columns.identities).map(cell).collect()
}
