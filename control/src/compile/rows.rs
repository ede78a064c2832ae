//! The pair matrix.
//!
//! A row depends only on the set of policies that isolate its pods (and on their named ports, if
//! ingress rules ask for them), so pods of one set share a row. A row's cells are made rule by
//! rule: identities start out alike and part where a rule matches some of them, so that the ports
//! of each distinct combination of rules are worked out once.

use std::collections::HashMap;

use podgate_dataplane::policy::{Half, ListId, PolicyTable, RangeList, Row};

use super::CompileError;
use super::bits::Bits;
use super::identity::{Identities, NO_PORTS, PortMapId};
use super::intern::Interner;
use super::ranges::{asks_for_names, range_list};
use super::rules::{PeerSet, RuleBook, RuleEntry};
use super::selection::{DIRECTIONS, Selection, SetId};
use crate::model::Ports;

/// The table. Nothing is allocated for it before it is known to fit.
pub(super) fn table(
    identities: &Identities<'_>,
    selection: &Selection<'_>,
    rules: &RuleBook<'_>,
    cell_limit: usize,
) -> Result<PolicyTable, CompileError> {
    let members = Members::new(identities, rules);
    let plans = DIRECTIONS.map(|direction| Plan::new(identities, selection, rules, direction));
    let rows: usize = plans.iter().map(|plan| plan.rows.values().len()).sum();
    let needed = rows.saturating_mul(identities.all().len());
    if needed > cell_limit {
        return Err(CompileError::Cells { needed, limit: cell_limit });
    }
    let mut lists = Interner::default();
    let mut halves = Vec::new();
    for (direction, plan) in plans.iter().enumerate() {
        let mut cells = Vec::with_capacity(plan.rows.values().len() * identities.all().len());
        for (set, subject_ports) in plan.rows.values() {
            let rules: Vec<&RuleEntry<'_>> =
                selection.set(*set).iter().flat_map(|policy| rules.of_policy(*policy, direction)).collect();
            let side =
                if direction == 0 { NamedPorts::OfSubject(*subject_ports) } else { NamedPorts::OfPeer };
            row(identities, &members, &rules, side, &mut lists, &mut cells);
        }
        halves.push(Half::new(plan.of_identity.clone(), cells)?);
    }
    let [ingress, egress] = <[Half; 2]>::try_from(halves).unwrap_or_default();
    Ok(PolicyTable::new(egress, ingress, lists.into_values())?)
}

/// Which rows there are in one direction, and whose they are.
struct Plan {
    rows: Interner<(SetId, PortMapId)>,
    of_identity: Vec<Row>,
}

impl Plan {
    fn new(
        identities: &Identities<'_>,
        selection: &Selection<'_>,
        rules: &RuleBook<'_>,
        direction: usize,
    ) -> Self {
        let mut rows = Interner::default();
        let mut names_matter: HashMap<SetId, bool> = HashMap::new();
        let of_identity = identities
            .all()
            .iter()
            .map(|identity| {
                let Some(set) = identity.sets()[direction] else { return Row::Open };
                let own_names = direction == 0
                    && *names_matter.entry(set).or_insert_with(|| {
                        let policies = selection.set(set).iter();
                        policies
                            .flat_map(|policy| rules.of_policy(*policy, direction))
                            .any(|rule| asks_for_names(rule.ports))
                    });
                let ports = if own_names { identity.ports() } else { NO_PORTS };
                Row::Isolated(rows.intern((set, ports)))
            })
            .collect();
        Self { rows, of_identity }
    }
}

/// The identities that each distinct peer stands for.
struct Members {
    of_peer: Vec<Bits>,
    of_block: Vec<Bits>,
}

impl Members {
    fn new(identities: &Identities<'_>, rules: &RuleBook<'_>) -> Self {
        let empty = Bits::new(identities.all().len());
        let mut of_peer = vec![empty.clone(); rules.peer_count()];
        let mut of_block = vec![empty; rules.block_count()];
        for (number, identity) in identities.all().iter().enumerate() {
            if let Some(peers) = identity.peers() {
                identities.peers(peers).iter().for_each(|peer| of_peer[peer].insert(number));
            }
            rules.blocks.blocks(identity.class()).iter().for_each(|block| of_block[block].insert(number));
        }
        Self { of_peer, of_block }
    }

    /// The identities that any of the peers stands for.
    fn union(&self, atoms: &[u32], blocks: &[u32], identities: usize) -> Bits {
        let mut union = Bits::new(identities);
        for atom in atoms {
            union.extend(&self.of_peer[*atom as usize]);
        }
        for block in blocks {
            union.extend(&self.of_block[*block as usize]);
        }
        union
    }
}

/// Whose named ports count: those of the destination.
#[derive(Clone, Copy)]
enum NamedPorts {
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

/// Appends one row of cells.
fn row(
    identities: &Identities<'_>,
    members: &Members,
    rules: &[&RuleEntry<'_>],
    side: NamedPorts,
    lists: &mut Interner<RangeList>,
    cells: &mut Vec<ListId>,
) {
    let count = identities.all().len();
    let mut classes = vec![Class::default()];
    let mut of_identity = vec![0_u32; count];
    for (position, rule) in rules.iter().enumerate() {
        // The class that each class becomes for those whom this rule matches.
        let mut parted: Vec<Option<u32>> = vec![None; classes.len()];
        let mut part = |identity: usize| {
            let from = of_identity[identity] as usize;
            if classes[from].complete {
                return;
            }
            of_identity[identity] = *parted[from].get_or_insert_with(|| {
                let mut class = classes[from].clone();
                class.rules.push(position);
                class.complete = *rule.ports == Ports::Every;
                class.named |= asks_for_names(rule.ports);
                classes.push(class);
                classes.len() as u32 - 1
            });
        };
        match &rule.peers {
            PeerSet::Any => (0..count).for_each(&mut part),
            PeerSet::AnyOf { atoms, blocks } => {
                members.union(atoms, blocks, count).iter().for_each(&mut part);
            }
        }
    }
    let mut known: HashMap<(u32, PortMapId), ListId> = HashMap::new();
    cells.extend(of_identity.iter().zip(identities.all()).map(|(class_number, identity)| {
        let class = &classes[*class_number as usize];
        let ports = match side {
            NamedPorts::OfSubject(ports) => ports,
            NamedPorts::OfPeer if class.named => identity.ports(),
            NamedPorts::OfPeer => NO_PORTS,
        };
        *known.entry((*class_number, ports)).or_insert_with(|| {
            let matching = class.rules.iter().map(|position| (rules[*position].id, rules[*position].ports));
            ListId(lists.intern(range_list(matching, identities.port_map(ports))))
        })
    }));
}
