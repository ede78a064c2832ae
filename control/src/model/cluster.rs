//! All objects together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{EndpointSlice, Labels, Namespace, NetworkPolicy, Node, ObjectKey, Pod, Service};

/// The objects of a cluster that decide what may talk to what.
///
/// Every pod and policy has its namespace here: one that nobody declared is implied, with the
/// label that every namespace has, and listed in [`Cluster::implied_namespaces`].
///
/// Objects are shared: a cluster that comes after another keeps the very object where nothing has
/// changed, so that what did change is found by comparing pointers ([`Arc`] compares them first).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    namespaces: BTreeMap<String, Arc<Namespace>>,
    implied: BTreeSet<String>,
    nodes: BTreeMap<String, Arc<Node>>,
    pods: BTreeMap<ObjectKey, Arc<Pod>>,
    policies: BTreeMap<ObjectKey, Arc<NetworkPolicy>>,
    services: BTreeMap<ObjectKey, Arc<Service>>,
    endpoint_slices: BTreeMap<ObjectKey, Arc<EndpointSlice>>,
}

impl Cluster {
    /// Without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Namespaces by name.
    pub fn namespaces(&self) -> &BTreeMap<String, Arc<Namespace>> {
        &self.namespaces
    }

    /// Namespaces that are used but were never declared.
    pub fn implied_namespaces(&self) -> impl Iterator<Item = &str> {
        self.implied.iter().map(String::as_str)
    }

    /// Nodes by name.
    pub fn nodes(&self) -> &BTreeMap<String, Arc<Node>> {
        &self.nodes
    }

    /// Pods by namespace and name.
    pub fn pods(&self) -> &BTreeMap<ObjectKey, Arc<Pod>> {
        &self.pods
    }

    /// Policies by namespace and name.
    pub fn policies(&self) -> &BTreeMap<ObjectKey, Arc<NetworkPolicy>> {
        &self.policies
    }

    /// Services by namespace and name.
    pub fn services(&self) -> &BTreeMap<ObjectKey, Arc<Service>> {
        &self.services
    }

    /// Lists of endpoints by namespace and name.
    pub fn endpoint_slices(&self) -> &BTreeMap<ObjectKey, Arc<EndpointSlice>> {
        &self.endpoint_slices
    }

    /// Adds a namespace or replaces it.
    pub fn put_namespace(&mut self, namespace: impl Into<Arc<Namespace>>) {
        let namespace = namespace.into();
        self.implied.remove(namespace.name());
        self.namespaces.insert(namespace.name().to_owned(), namespace);
    }

    /// Adds a node or replaces it.
    pub fn put_node(&mut self, node: impl Into<Arc<Node>>) {
        let node = node.into();
        self.nodes.insert(node.name.clone(), node);
    }

    /// Adds a pod or replaces it.
    pub fn put_pod(&mut self, pod: impl Into<Arc<Pod>>) {
        let pod = pod.into();
        self.imply(&pod.key.namespace);
        self.pods.insert(pod.key.clone(), pod);
    }

    /// Adds a policy or replaces it.
    pub fn put_policy(&mut self, policy: impl Into<Arc<NetworkPolicy>>) {
        let policy = policy.into();
        self.imply(&policy.key.namespace);
        self.policies.insert(policy.key.clone(), policy);
    }

    /// Adds a Service or replaces it.
    pub fn put_service(&mut self, service: impl Into<Arc<Service>>) {
        let service = service.into();
        self.imply(&service.key.namespace);
        self.services.insert(service.key.clone(), service);
    }

    /// Adds a list of endpoints or replaces it.
    pub fn put_endpoint_slice(&mut self, slice: impl Into<Arc<EndpointSlice>>) {
        let slice = slice.into();
        self.imply(&slice.key.namespace);
        self.endpoint_slices.insert(slice.key.clone(), slice);
    }

    /// Removes a namespace and, as the API server does, everything in it. `None` if there is none.
    pub fn remove_namespace(&mut self, name: &str) -> Option<Arc<Namespace>> {
        self.pods.retain(|key, _| key.namespace != name);
        self.policies.retain(|key, _| key.namespace != name);
        self.services.retain(|key, _| key.namespace != name);
        self.endpoint_slices.retain(|key, _| key.namespace != name);
        self.implied.remove(name);
        self.namespaces.remove(name)
    }

    /// Removes a node. `None` if there is none.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<Node>> {
        self.nodes.remove(name)
    }

    /// Removes a pod. `None` if there is none.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.pods.remove(key)
    }

    /// Removes a policy. `None` if there is none.
    pub fn remove_policy(&mut self, key: &ObjectKey) -> Option<Arc<NetworkPolicy>> {
        self.policies.remove(key)
    }

    /// Removes a Service. `None` if there is none.
    pub fn remove_service(&mut self, key: &ObjectKey) -> Option<Arc<Service>> {
        self.services.remove(key)
    }

    /// Removes a list of endpoints. `None` if there is none.
    pub fn remove_endpoint_slice(&mut self, key: &ObjectKey) -> Option<Arc<EndpointSlice>> {
        self.endpoint_slices.remove(key)
    }

    fn imply(&mut self, name: &str) {
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), Arc::new(Namespace::new(name, Labels::new())));
            self.implied.insert(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NAMESPACE_NAME_LABEL, Phase};

    fn pod(key: &str) -> Pod {
        Pod { phase: Phase::Running, ..Pod::new(key.parse().unwrap()) }
    }

    #[test]
    fn a_namespace_is_implied_until_it_is_declared() {
        let mut cluster = Cluster::new();
        cluster.put_pod(pod("x/a"));
        assert_eq!(cluster.implied_namespaces().collect::<Vec<_>>(), ["x"]);
        assert_eq!(cluster.namespaces()["x"].labels()[NAMESPACE_NAME_LABEL], "x");

        let labels = Labels::from([("ns".to_owned(), "x".to_owned())]);
        cluster.put_namespace(Namespace::new("x", labels));
        assert_eq!(cluster.implied_namespaces().count(), 0);
        assert_eq!(cluster.namespaces()["x"].labels().len(), 2);
        cluster.put_pod(pod("x/b"));
        assert_eq!(cluster.namespaces()["x"].labels().len(), 2);
    }

    #[test]
    fn a_namespace_takes_its_pods_along() {
        let mut cluster = Cluster::new();
        cluster.put_pod(pod("x/a"));
        cluster.put_pod(pod("y/a"));
        assert!(cluster.remove_namespace("x").is_some());
        assert_eq!(cluster.pods().keys().map(ToString::to_string).collect::<Vec<_>>(), ["y/a"]);
    }
}
