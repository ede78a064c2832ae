//! The pair matrix.
//!
//! A row depends only on the set of policies that isolate its pods (and on their named ports, if
//! ingress rules ask for them), so pods of one set share a row. A policy that is changed is another
//! one, in other sets: what a row says of an identity never changes, and only new rows and new
//! identities are worked out.

use std::collections::HashMap;
use std::sync::Arc;

use podgate_dataplane::policy::{
    CELLS_IN_CHUNK, CellChunk, Half, ListId, PolicyTable, RangeList, RangeLists, Row,
};

use super::CompileError;
use super::cells::{Columns, NOTHING, NamedPorts, cells};
use super::counted::Counted;
use super::identity::{Identities, Identity, NO_PORTS, PortMapId, Sources};
use super::ranges::asks_for_names;
use super::selection::{DIRECTIONS, SetId};

/// Both halves of the table.
pub(super) struct Rows {
    halves: [HalfRows; 2],
    /// Distinct lists; none is given up.
    lists: Counted<RangeList>,
    packed: RangeLists,
    /// How many there were after the first compilation.
    lists_at_first: Option<usize>,
    /// A chunk in which nothing is allowed; all such are this one.
    nothing: CellChunk,
}

/// One direction.
#[derive(Default)]
struct HalfRows {
    rows: Counted<(SetId, PortMapId)>,
    /// By row.
    cells: Vec<Vec<CellChunk>>,
    of_identity: Vec<Row>,
    half: Half,
}

/// What it took.
#[derive(Clone, Copy, Default)]
pub(super) struct Worked {
    pub(super) rows: usize,
    pub(super) cells: usize,
}

impl Rows {
    pub(super) fn new() -> Self {
        let mut lists = Counted::default();
        let nothing = ListId(lists.acquire(RangeList::default()));
        debug_assert_eq!(nothing, NOTHING);
        let nothing = Arc::new([NOTHING; CELLS_IN_CHUNK]);
        Self {
            halves: Default::default(),
            lists,
            packed: RangeLists::default(),
            lists_at_first: None,
            nothing,
        }
    }

    /// The table. Nothing is allocated for it before it is known to fit.
    pub(super) fn update(
        &mut self,
        identities: &Identities,
        from: &Sources<'_>,
        cell_limit: usize,
    ) -> Result<(PolicyTable, Worked), CompileError> {
        let all = identities.all();
        let (fresh, gone) = (all.fresh(), all.gone());
        for (direction, half) in self.halves.iter_mut().enumerate() {
            half.assign(direction, &fresh, &gone, all, from);
        }
        let needed = self.rows().saturating_mul(all.used());
        if needed > cell_limit {
            return Err(CompileError::Cells { needed, limit: cell_limit });
        }
        let mut worked = Worked::default();
        let new = Columns::new(fresh, identities, from);
        let has_new_rows = self.halves.iter().any(|half| !half.rows.fresh().is_empty());
        let every = has_new_rows
            .then(|| Columns::new(all.iter().map(|(number, _)| number).collect(), identities, from));
        for direction in DIRECTIONS {
            let half = &mut self.halves[direction];
            let chunks = all.bound().div_ceil(CELLS_IN_CHUNK);
            let is_same = !half.rows.has_changed() && !all.has_changed();
            if is_same && half.half.identities() == all.bound() {
                continue;
            }
            half.cells.resize_with(half.rows.bound(), Vec::new);
            for number in half.rows.gone() {
                half.cells[number as usize].clear();
            }
            for (number, (set, ports)) in half.rows.iter() {
                let row = &mut half.cells[number as usize];
                let is_new = half.rows.is_fresh(number);
                if is_new {
                    row.clear();
                }
                row.resize(chunks, Arc::clone(&self.nothing));
                let Some(columns) = every.as_ref().filter(|_| is_new).or(Some(&new)) else { continue };
                let policies = from.selection.set(*set).iter();
                let rules = policies.flat_map(|policy| from.rules.of_policy(*policy, direction));
                let side = if direction == 0 { NamedPorts::OfSubject(*ports) } else { NamedPorts::OfPeer };
                let found = cells(columns, &rules.collect::<Vec<_>>(), side, identities, &mut self.lists);
                worked.rows += usize::from(is_new);
                worked.cells += found.len();
                for (identity, list) in columns.identities().iter().zip(found) {
                    let (chunk, at) =
                        (*identity as usize / CELLS_IN_CHUNK, *identity as usize % CELLS_IN_CHUNK);
                    if row[chunk][at] != list {
                        Arc::make_mut(&mut row[chunk])[at] = list;
                    }
                }
            }
            for row in &mut half.cells {
                row.resize(chunks, Arc::clone(&self.nothing));
            }
            half.half = Half::of_chunks(&half.of_identity, half.cells.iter().map(Vec::as_slice))?;
        }
        if self.packed.len() != self.lists.bound() {
            self.packed = RangeLists::new(self.lists.iter().map(|(_, list)| list));
        }
        let [ingress, egress] = self.halves.each_ref().map(|half| half.half.clone());
        Ok((PolicyTable::new(egress, ingress, self.packed.clone())?, worked))
    }

    /// Rows of both directions.
    pub(super) fn rows(&self) -> usize {
        self.halves.iter().map(|half| half.rows.used()).sum()
    }

    /// Lists, those included that nothing uses any more.
    pub(super) fn lists(&self) -> usize {
        self.lists.bound()
    }

    /// How many lists there were after the first compilation, when all were used.
    pub(super) fn lists_at_first(&self) -> usize {
        self.lists_at_first.unwrap_or_default()
    }

    pub(super) fn settle(&mut self) {
        self.lists_at_first.get_or_insert(self.lists.bound());
        self.halves.iter_mut().for_each(|half| half.rows.settle());
        self.lists.settle();
    }
}

impl HalfRows {
    /// Gives new identities their rows, and takes those of others.
    fn assign(
        &mut self,
        direction: usize,
        fresh: &[u32],
        gone: &[u32],
        all: &Counted<Identity>,
        from: &Sources<'_>,
    ) {
        self.of_identity.resize(all.bound(), Row::Open);
        let mut names_matter: HashMap<SetId, bool> = HashMap::new();
        for number in fresh {
            let identity = all.value(*number);
            let Some(set) = identity.sets()[direction] else { continue };
            let own_names = direction == 0
                && *names_matter.entry(set).or_insert_with(|| {
                    let policies = from.selection.set(set).iter();
                    policies
                        .flat_map(|policy| from.rules.of_policy(*policy, direction))
                        .any(|(_, ports)| asks_for_names(ports))
                });
            let ports = if own_names { identity.ports() } else { NO_PORTS };
            self.of_identity[*number as usize] = Row::Isolated(self.rows.acquire((set, ports)));
        }
        for number in gone {
            if let Row::Isolated(row) = std::mem::replace(&mut self.of_identity[*number as usize], Row::Open)
            {
                self.rows.release(row);
            }
        }
    }
}
