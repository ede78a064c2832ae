//! The cluster of a case, as its actions change it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use crate::model::{Cluster, ContainerPort, Namespace, Node, ObjectKey, Phase, Pod};
use crate::source::{Object, Strictness, read_manifests};

use super::{Action, Address, Case, Family, PodSpec};

/// The cluster of a case at one moment.
#[derive(Clone, Debug)]
pub struct World {
    cluster: Cluster,
    externals: BTreeMap<String, Vec<IpAddr>>,
    policies: BTreeMap<ObjectKey, serde_json::Value>,
}

/// Why a case does not make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// No such object.
    #[error("there is no {what}")]
    Absent {
        /// What.
        what: String,
    },
    /// An endpoint without an address of the family.
    #[error("{what} has no address of the family")]
    Unaddressed {
        /// What.
        what: String,
    },
    /// A policy, port or phase that podgate refuses.
    #[error("{what}: {reason}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
}

impl World {
    /// What there is before the first step.
    pub fn new(case: &Case) -> Result<Self, WorldError> {
        let spec = &case.cluster;
        let externals = spec.externals.iter().map(|external| (external.name.clone(), external.ips.clone()));
        let externals = externals.collect();
        let mut world = Self { cluster: Cluster::new(), externals, policies: BTreeMap::new() };
        for (name, namespace) in &spec.namespaces {
            world.cluster.put_namespace(Namespace::new(name, namespace.labels.clone()));
        }
        for node in &spec.nodes {
            world.cluster.put_node(Node {
                name: node.name.clone(),
                labels: node.labels.clone(),
                addresses: node.ips.clone(),
                pod_nets: Vec::new(),
            });
        }
        for pod in &spec.pods {
            world.put_pod(pod)?;
        }
        for service in &spec.services {
            world.cluster.put_service(service.object()?);
        }
        for policy in &case.policies {
            world.put_policy(policy)?;
        }
        Ok(world)
    }

    /// The live pod that has this address to itself, or the first of several.
    pub fn holder(&self, address: IpAddr) -> Option<&Pod> {
        let mut pods = self.cluster.pods().values().map(AsRef::as_ref);
        pods.find(|pod: &&Pod| pod.is_live() && !pod.host_network && pod.addresses.contains(&address))
    }

    /// The policies in force, as they were written.
    pub fn policies(&self) -> &BTreeMap<ObjectKey, serde_json::Value> {
        &self.policies
    }

    /// Hosts outside the cluster.
    pub fn externals(&self) -> &BTreeMap<String, Vec<IpAddr>> {
        &self.externals
    }

    /// The cluster as it is now.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Applies one change.
    pub fn apply(&mut self, action: &Action) -> Result<(), WorldError> {
        match action {
            Action::Apply(policy) => self.put_policy(policy),
            Action::CreatePod(pod) => self.put_pod(pod),
            Action::Delete { kind, namespace, name } => {
                let key = ObjectKey::new(namespace, name);
                self.policies.remove(&key);
                present(self.cluster.remove_policy(&key), || format!("{kind} {key}"))
            }
            Action::DeletePod { namespace, name } => {
                let key = ObjectKey::new(namespace, name);
                present(self.cluster.remove_pod(&key), || format!("Pod {key}"))
            }
            Action::DeleteNamespace { name } => {
                self.policies.retain(|key, _| key.namespace != *name);
                present(self.cluster.remove_namespace(name), || format!("Namespace {name}"))
            }
            Action::CreateNamespace { name, labels } | Action::SetNamespaceLabels { name, labels } => {
                self.cluster.put_namespace(Namespace::new(name, labels.clone()));
                Ok(())
            }
            Action::SetPodLabels { namespace, name, labels } => {
                self.change_pod(namespace, name, |pod| pod.labels.clone_from(labels))
            }
            Action::SetPodPhase { namespace, name, phase } => {
                let phase = parse_phase(phase, &ObjectKey::new(namespace, name))?;
                self.change_pod(namespace, name, |pod| pod.phase = phase)
            }
        }
    }

    /// Addresses of both ends, of one family.
    pub fn ends(
        &self,
        from: &Address,
        to: &Address,
        family: Option<Family>,
    ) -> Result<(IpAddr, IpAddr), WorldError> {
        let said = match from {
            Address::Ip(address) => Some(Family::of(*address)),
            _ => None,
        };
        let destination = self.resolve(to, family.or(said))?;
        Ok((self.resolve(from, Some(Family::of(destination)))?, destination))
    }

    /// Where `address` is reached. A Service is not one address but each of its backends.
    pub fn resolve(&self, address: &Address, family: Option<Family>) -> Result<IpAddr, WorldError> {
        let absent = || WorldError::Absent { what: address.to_string() };
        let addresses: &[IpAddr] = match address {
            Address::Ip(address) => std::slice::from_ref(address),
            Address::Service(_) => return Err(absent()),
            Address::External(name) => self.externals.get(name).ok_or_else(absent)?,
            Address::Node(name) => &self.cluster.nodes().get(name).ok_or_else(absent)?.addresses,
            Address::Pod(key) => {
                let pod = self.cluster.pods().get(key).ok_or_else(absent)?;
                if pod.host_network {
                    let node = pod.node.as_ref().and_then(|name| self.cluster.nodes().get(name));
                    &node.ok_or_else(absent)?.addresses
                } else {
                    &pod.addresses
                }
            }
        };
        let wanted = addresses.iter().find(|address| family.is_none_or(|family| family.holds(**address)));
        wanted.copied().ok_or_else(|| WorldError::Unaddressed { what: address.to_string() })
    }

    fn put_pod(&mut self, spec: &PodSpec) -> Result<(), WorldError> {
        let key = spec.key();
        let phase = spec.phase.as_deref().map_or(Ok(Phase::Running), |phase| parse_phase(phase, &key))?;
        let port = |port: &super::PortSpec| {
            let protocol = port.protocol.policy_protocol().ok_or_else(|| WorldError::Refused {
                what: format!("Pod {key}"),
                reason: "a container port of ICMP".to_owned(),
            })?;
            Ok(ContainerPort { name: port.name.clone(), port: port.port, protocol })
        };
        let ports = spec.ports.iter().map(port).collect::<Result<_, _>>()?;
        if spec.node.as_ref().is_none_or(|node| !self.cluster.nodes().contains_key(node)) {
            let node = spec.node.as_ref().map_or("none".to_owned(), |node| format!("{node:?}"));
            let reason = format!("node is {node}, and no gateway would judge it; name a node of the cluster");
            return Err(WorldError::Refused { what: format!("Pod {key}"), reason });
        }
        self.cluster.put_pod(Pod {
            labels: spec.labels.clone(),
            node: spec.node.clone(),
            addresses: spec.ips.clone(),
            host_network: spec.host_network,
            phase,
            ports,
            ..Pod::new(key.clone())
        });
        Ok(())
    }

    /// Reads a policy as one the API server holds: host bits in a CIDR are among the cases.
    fn put_policy(&mut self, policy: &serde_json::Value) -> Result<(), WorldError> {
        let reading = read_manifests(&policy.to_string(), Path::new("policies"), Strictness::Stored);
        if let Some(error) = reading.errors.first() {
            return Err(WorldError::Refused { what: policy.to_string(), reason: error.to_string() });
        }
        if reading.manifests.len() != 1 {
            let reason = "it is not one policy".to_owned();
            return Err(WorldError::Refused { what: policy.to_string(), reason });
        }
        for manifest in reading.manifests {
            let Object::NetworkPolicy(found) = &manifest.object else {
                let reason = "it is no NetworkPolicy".to_owned();
                return Err(WorldError::Refused { what: manifest.object.title(), reason });
            };
            self.policies.insert(found.key.clone(), policy.clone());
            manifest.object.put_into(&mut self.cluster);
        }
        Ok(())
    }

    fn change_pod(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Pod),
    ) -> Result<(), WorldError> {
        let key = ObjectKey::new(namespace, name);
        let pod = self.cluster.pods().get(&key);
        let pod = pod.ok_or_else(|| WorldError::Absent { what: format!("Pod {key}") })?;
        let mut pod = Pod::clone(pod);
        change(&mut pod);
        self.cluster.put_pod(pod);
        Ok(())
    }
}

fn present<T>(removed: Option<T>, what: impl FnOnce() -> String) -> Result<(), WorldError> {
    removed.map(drop).ok_or_else(|| WorldError::Absent { what: what() })
}

fn parse_phase(phase: &str, key: &ObjectKey) -> Result<Phase, WorldError> {
    Phase::from_name(phase).ok_or_else(|| WorldError::Refused {
        what: format!("Pod {key}"),
        reason: format!("no phase is called {phase}"),
    })
}
