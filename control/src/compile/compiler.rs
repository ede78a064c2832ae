//! What is kept between compilations, and the stages in their order.

use std::collections::HashSet;

use podgate_dataplane::snapshot::Snapshot;

use super::blocks::Blocks;
use super::identity::{Identities, Sources};
use super::matches::Matches;
use super::naming::Naming;
use super::role::Roles;
use super::roster::Roster;
use super::rows::Rows;
use super::rules::RuleBook;
use super::seen::Seen;
use super::selection::Selection;
use super::{CompileError, Compiled, Locality, PortAssignment, Settings, Sizes, Work};
use crate::model::{Cluster, Namespace, NetworkPolicy};

/// Numbers that may be unused before it is worth to start again, besides as many as are used.
const SPARE_NUMBERS: usize = 4096;

/// Compiles one cluster after another, each time only what differs from the time before.
///
/// What it makes says the same as what [`super::compile`] makes of the last cluster alone; only
/// numbers may differ. What differs between two clusters is found by comparing pointers, and by value
/// where these are not the same.
#[derive(Default)]
pub struct Compiler {
    known: Option<Known>,
}

/// All that is known, and what it was found under.
struct Known {
    vantage: Vantage,
    namespaces: Seen<Namespace>,
    policies: Seen<NetworkPolicy>,
    roster: Roster,
    roles: Roles,
    selection: Selection,
    rules: RuleBook,
    matches: Matches,
    blocks: Blocks,
    identities: Identities,
    rows: Rows,
    naming: Naming,
}

/// What everything depends on: where it differs, nothing is known.
#[derive(Clone, PartialEq, Eq)]
struct Vantage {
    everything: bool,
    /// The own node, if it has a name.
    node: Option<String>,
    seed: u64,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").field("knows", &self.known.is_some()).finish_non_exhaustive()
    }
}

impl Compiler {
    /// One that knows nothing: its first compilation is a whole one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compiles `cluster` as seen from `locality`, with `ports` bound. After an error the next
    /// compilation is a whole one.
    pub fn compile(
        &mut self,
        cluster: &Cluster,
        locality: &Locality,
        ports: &[PortAssignment],
        settings: Settings,
    ) -> Result<Compiled, CompileError> {
        let (everything, node) = match locality {
            Locality::Node { name, .. } => (false, name.clone()),
            Locality::Everything => (true, None),
        };
        let vantage = Vantage { everything, node, seed: settings.seed };
        // Taken out: what an error leaves half done is not used again.
        let known = self.known.take().filter(|known| known.vantage == vantage && !known.is_worn());
        let incremental = known.is_some();
        let mut known = known.unwrap_or_else(|| Known::new(vantage));
        let mut compiled = known.advance(cluster, locality, ports, settings)?;
        compiled.work.incremental = incremental;
        self.known = Some(known);
        Ok(compiled)
    }
}

impl Known {
    fn new(vantage: Vantage) -> Self {
        let identities = Identities::new(vantage.seed);
        Self {
            vantage,
            namespaces: Seen::default(),
            policies: Seen::default(),
            roster: Roster::default(),
            roles: Roles::default(),
            selection: Selection::default(),
            rules: RuleBook::default(),
            matches: Matches::default(),
            blocks: Blocks::new(),
            identities,
            rows: Rows::new(),
            naming: Naming::default(),
        }
    }

    /// Whether much of what it holds is for numbers that are no longer in use.
    fn is_worn(&self) -> bool {
        let is_worn = |bound: usize, used: usize| bound > 2 * used + SPARE_NUMBERS;
        let identities = self.identities.all();
        is_worn(self.roster.bound(), self.roster.len())
            // Columns of the table: what is unused is dear.
            || identities.bound() > 2 * identities.used() + SPARE_NUMBERS / 16
            || is_worn(self.rules.ids().bound(), self.rules.ids().used())
            || self.rows.lists() > 2 * self.rows.lists_at_first() + SPARE_NUMBERS
    }

    fn advance(
        &mut self,
        cluster: &Cluster,
        locality: &Locality,
        ports: &[PortAssignment],
        settings: Settings,
    ) -> Result<Compiled, CompileError> {
        let mut notes = Vec::new();
        let policies = self.policies.changes(cluster.policies().values());
        let namespaces: HashSet<String> = self
            .namespaces
            .changes(cluster.namespaces().values())
            .iter()
            .filter_map(|change| Some(change.after.as_ref().or(change.before.as_ref())?.name().to_owned()))
            .collect();
        self.roster.update(cluster, locality, ports, &mut notes);
        let touched = self.roles.update(&policies, &self.roster);
        let mut roles = self.selection.update(&policies, &self.roles);
        self.rules.update(&self.selection);
        let isolated = roles.clone();
        roles.extend(&self.matches.update(cluster, &namespaces, &self.roles, &self.rules));
        if self.rules.blocks().has_changed() {
            self.blocks.replace(self.rules.blocks());
        }
        let from = Sources {
            roster: &self.roster,
            roles: &self.roles,
            selection: &self.selection,
            rules: &self.rules,
            matches: &self.matches,
            blocks: &self.blocks,
        };
        self.naming.update(&touched, &isolated, &from);
        let endpoints = self.identities.update(touched, &roles, &from)?;
        let all = self.identities.all();
        let limit = settings.limits.identities;
        if all.used() > limit {
            return Err(CompileError::Identities { needed: all.used(), limit });
        }
        let (table, worked) = self.rows.update(&self.identities, &from, settings.limits.cells)?;
        let work = Work {
            incremental: false,
            pods: self.roster.touched().changed,
            policies: policies.len(),
            namespaces: namespaces.len(),
            endpoints,
            rows: worked.rows,
            cells: worked.cells,
        };
        let names = self.naming.names().clone();
        let addresses = self.identities.endpoints().clone();
        let mut snapshot = Snapshot::new(settings.epoch, addresses, table, settings.switches, names);
        for (port, binding) in self.roster.bindings() {
            snapshot.bind(port, binding);
        }
        let homes = match locality {
            Locality::Everything => self.roster.homes(),
            Locality::Node { .. } => Vec::new(),
        };
        self.settle();
        Ok(Compiled { snapshot, notes, sizes: self.sizes(), work, homes })
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            endpoints: self.roster.len(),
            addresses: self.identities.endpoints().len(),
            identities: self.identities.all().used(),
            rows: self.rows.rows(),
            pairs: self.rows.rows() * self.identities.all().used(),
            policies: self.selection.relevant().used(),
            rules: self.rules.ids().used(),
        }
    }

    fn settle(&mut self) {
        self.roster.settle();
        self.roles.settle();
        self.selection.settle();
        self.rules.settle();
        self.matches.settle();
        self.blocks.settle();
        self.identities.settle();
        self.rows.settle();
    }
}
