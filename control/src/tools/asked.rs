//! What is in force at a running gateway, and what would be if more were applied.

use std::path::Path;

use super::survey::{AskedGateway, lend};
use super::{Survey, party};
use crate::api::{InForce, PolicyPlace};
use crate::model::{Cluster, ObjectKey, Pod};
use crate::source::{Background, Object, Place, SourceError, Strictness, Untraced, read_manifests};

impl Survey {
    /// What a gateway says is in force. Nothing is lent or made up: a pod without an address has none
    /// there.
    pub fn of_gateway(told: InForce) -> Result<Self, Vec<SourceError>> {
        let name = format!("gateway {}", told.gateway);
        let reading = read_manifests(&told.objects.to_string(), Path::new(&name), Strictness::Stored);
        if !reading.errors.is_empty() {
            return Err(reading.errors);
        }
        let (mut cluster, mut background) = (Cluster::new(), Background::default());
        for manifest in reading.manifests {
            if let (Object::Pod(pod), Some(owner)) = (&manifest.object, manifest.owner) {
                background.owners.insert(pod.key.clone(), owner);
            }
            manifest.object.put_into(&mut cluster);
        }
        let place = |(policy, PolicyPlace { file, line }): (String, PolicyPlace)| {
            Some((policy.parse().ok()?, Place { file, document: None, line }))
        };
        background.policies = told.places.into_iter().filter_map(place).collect();
        let implied = cluster.implied_namespaces().map(str::to_owned).collect();
        let gateway = AskedGateway {
            name: told.gateway,
            epoch: told.epoch,
            age_seconds: told.age_seconds,
            held_back: told.held_back,
        };
        let services = Some(told.services);
        Ok(Self { cluster, background, implied, gateway: Some(gateway), services, ..Self::default() })
    }

    /// What is in force, and what would be if the manifests at `paths` were applied: their objects
    /// are added or take the place of those of the same name. `prune`: policies that are not among
    /// them are gone.
    pub fn before_and_after(
        mut self,
        paths: impl IntoIterator<Item = impl Into<std::path::PathBuf>>,
        prune: bool,
    ) -> Result<(Self, Self), Untraced> {
        let mut more = Self::read_as_written(paths)?;
        let mut cluster = self.cluster.clone();
        if prune {
            for policy in self.cluster.policies().keys() {
                cluster.remove_policy(policy);
            }
        }
        for namespace in more.cluster.namespaces().values() {
            if !more.implied.iter().any(|implied| implied == namespace.name()) {
                cluster.put_namespace(namespace.clone());
            }
        }
        for node in more.cluster.nodes().values() {
            cluster.put_node(node.clone());
        }
        for pod in more.cluster.pods().values() {
            if !self.has_others_of(&more, pod) {
                cluster.put_pod(self.plugged_in(pod));
            }
        }
        for service in more.cluster.services().values() {
            cluster.put_service(service.clone());
        }
        for slice in more.cluster.endpoint_slices().values() {
            cluster.put_endpoint_slice(slice.clone());
        }
        for policy in more.cluster.policies().values() {
            cluster.put_policy(policy.clone());
        }
        more.implied.retain(|name| cluster.implied_namespaces().any(|implied| implied == name));
        more.made.values_mut().for_each(|pods| pods.retain(|pod| cluster.pods().contains_key(pod)));
        more.made.retain(|_, pods| !pods.is_empty());
        let Background { owners, policies } = self.background.clone();
        let background = &mut more.background;
        background.owners = owners.into_iter().chain(std::mem::take(&mut background.owners)).collect();
        background.policies = policies.into_iter().chain(std::mem::take(&mut background.policies)).collect();
        more.cluster = cluster;
        let lent = lend(&mut [&mut self.cluster, &mut more.cluster]);
        self.lent.clone_from(&lent);
        more.lent = lent;
        Ok((self, more))
    }

    /// Whether `pod` was made of the template of a workload that has its pods here, under other names.
    fn has_others_of(&self, more: &Self, pod: &Pod) -> bool {
        let is_made = more.made.values().flatten().any(|made| *made == pod.key);
        is_made && !self.cluster.pods().contains_key(&pod.key) && {
            let workload = party::workload(more, pod);
            self.cluster.pods().values().any(|here| party::workload(self, here) == workload)
        }
    }

    /// `pod` with the addresses and the node that it has here.
    fn plugged_in(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        if let Some(here) = self.cluster.pods().get(&pod.key) {
            if pod.addresses.is_empty() {
                pod.addresses.clone_from(&here.addresses);
            }
            pod.node = pod.node.or_else(|| here.node.clone());
        }
        pod
    }

    /// The pods of the workload of that name, where there is no pod of it.
    pub(super) fn pods_of_workload(&self, key: &ObjectKey) -> Vec<&Pod> {
        let name = key.to_string();
        let pods = self.cluster.pods().values().map(AsRef::as_ref).filter(|pod: &&Pod| pod.is_live());
        pods.filter(|pod| party::workload(self, pod).0 == name && pod.key != *key).collect()
    }
}
