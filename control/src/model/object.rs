//! Namespaces and nodes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Labels;

/// The label every namespace carries, with its own name as value.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    name: String,
    labels: Labels,
}

impl Namespace {
    /// A namespace with these labels and the one the API server sets on every namespace, which it
    /// sets whatever the manifest says (NamespaceDefaultLabelName).
    pub fn new(name: impl Into<String>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        Self { name, labels }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels. NetworkPolicy never selects nodes by them.
    pub labels: Labels,
    /// Its internal and external addresses.
    pub addresses: Vec<IpAddr>,
    /// Out of which its pods have their addresses; none where that is not said.
    pub pod_nets: Vec<IpNet>,
}
