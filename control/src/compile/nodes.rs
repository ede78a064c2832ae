//! Nodes as endpoints, and which of them is this machine.

use std::collections::HashMap;
use std::net::IpAddr;

use podgate_flowtable::Addr;

use super::Locality;
use super::numbers::Numbers;
use super::plugged::distinct;
use super::seen::Seen;
use crate::model::{Cluster, Node};

/// All nodes, in the order of their names.
#[derive(Default)]
pub(super) struct Nodes {
    seen: Seen<Node>,
    /// What this machine was last known by; `None` before the first update.
    locality: Option<Locality>,
    entries: Vec<NodeEntry>,
}

/// One node.
pub(super) struct NodeEntry {
    pub(super) number: u32,
    /// `None`: this machine, of which no Node object tells.
    pub(super) name: Option<String>,
    pub(super) own: bool,
    pub(super) addresses: Vec<Addr>,
}

impl Nodes {
    /// Takes over what is there now. If anything differs, returns what was there before.
    pub(super) fn update(
        &mut self,
        cluster: &Cluster,
        locality: &Locality,
        numbers: &mut Numbers,
    ) -> Option<Vec<NodeEntry>> {
        let changes = self.seen.changes(cluster.nodes().values());
        if changes.is_empty() && self.locality.as_ref() == Some(locality) {
            return None;
        }
        self.locality = Some(locality.clone());
        let old = std::mem::replace(&mut self.entries, entries(cluster, locality));
        let mut known: HashMap<Option<&str>, u32> =
            old.iter().map(|entry| (entry.name.as_deref(), entry.number)).collect();
        for entry in &mut self.entries {
            entry.number = known.remove(&entry.name.as_deref()).unwrap_or_else(|| numbers.take());
        }
        for number in known.into_values() {
            numbers.give_back(number);
        }
        Some(old)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[NodeEntry] {
        &self.entries
    }
}

impl NodeEntry {
    /// How it is called.
    pub(super) fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| "node:(this)".to_owned(), |name| format!("node:{name}"))
    }
}

/// The nodes of a cluster, not numbered yet.
fn entries(cluster: &Cluster, locality: &Locality) -> Vec<NodeEntry> {
    let (own_name, own_addresses): (Option<&String>, &[IpAddr]) = match locality {
        Locality::Node { name, own_addresses } => (name.as_ref(), own_addresses),
        Locality::Everything => (None, &[]),
    };
    let mine = |address: &IpAddr| own_addresses.contains(address);
    let mut entries: Vec<NodeEntry> = cluster
        .nodes()
        .values()
        .map(|node| NodeEntry {
            number: 0,
            name: Some(node.name.clone()),
            own: match own_name {
                Some(name) => node.name == *name,
                None => node.addresses.iter().any(mine),
            },
            addresses: distinct(&node.addresses),
        })
        .collect();
    if let Locality::Node { .. } = locality {
        // What is on this machine is this machine's: an address that floats between nodes too.
        let own = distinct(own_addresses);
        for entry in &mut entries {
            entry.addresses.retain(|address| !own.contains(address));
        }
        let at = entries.iter().position(|entry| entry.own).unwrap_or_else(|| {
            let (name, addresses) = (own_name.cloned(), Vec::new());
            entries.push(NodeEntry { number: 0, name, own: true, addresses });
            entries.len() - 1
        });
        entries[at].addresses.extend(own);
    }
    entries
}
