//! Addresses for pods whose manifest has none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Cluster, ObjectKey, Pod};

/// Addresses by pod. A manifest as a user writes it has no `status`, so the addresses must come
/// from whoever plugged the pod in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overlay {
    addresses: BTreeMap<ObjectKey, Vec<IpAddr>>,
}

impl Overlay {
    /// Gives `pod` these addresses, in place of those it was given before.
    pub fn set(&mut self, pod: ObjectKey, addresses: Vec<IpAddr>) {
        self.addresses.insert(pod, addresses);
    }

    /// Takes the addresses of `pod` back.
    pub fn remove(&mut self, pod: &ObjectKey) {
        self.addresses.remove(pod);
    }

    /// Gives every pod in `cluster` that has no address of its own the one it has here. A
    /// hostNetwork pod has its node's and gets none.
    pub fn apply(&self, cluster: &mut Cluster) {
        for (key, addresses) in &self.addresses {
            if let Some(pod) = cluster.pods().get(key)
                && pod.addresses.is_empty()
                && !pod.host_network
            {
                let mut pod = Pod::clone(pod);
                pod.addresses.clone_from(addresses);
                cluster.put_pod(pod);
            }
        }
    }
}

impl FromIterator<(ObjectKey, Vec<IpAddr>)> for Overlay {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, Vec<IpAddr>)>>(pairs: I) -> Self {
        Self { addresses: pairs.into_iter().collect() }
    }
}
