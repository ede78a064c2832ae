//! The objects of a lab as `podgate lab get` shows them: what is in force, what workloads ask for, and the endpoints
//! that nobody has written down.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::block_on;
use super::kind::Kind;
use crate::lab::Lab;
use crate::model::{Condition, Service, ServiceKind};
use crate::service::{Backend, backends, endpoints};
use crate::source::RawObject;
use crate::tools::Survey;

/// All objects of a lab.
pub(super) struct Shown {
    in_force: Vec<Value>,
    declared: Vec<RawObject>,
    survey: Survey,
}

impl Shown {
    pub(super) fn of(lab: &Lab) -> anyhow::Result<Self> {
        let told = block_on(lab.client().in_force())??;
        for why in &told.held_back {
            eprintln!("note: not in force: {why}");
        }
        let in_force = told.objects["items"].as_array().cloned().unwrap_or_default();
        let survey = Survey::of_gateway(told)
            .map_err(|errors| anyhow!("what the gateway told cannot be read: {errors:?}"))?;
        Ok(Self { in_force, declared: lab.declared()?, survey })
    }

    /// Those of a kind.
    pub(super) fn objects(&self, kind: Kind) -> Vec<Value> {
        let written = || {
            self.in_force
                .iter()
                .filter(|item| item["kind"] == kind.name)
                .map(|item| self.labelled(item.clone(), kind.name))
        };
        let services = || self.survey.cluster.services().values();
        match kind.name {
            "Endpoints" => {
                let all = services().filter_map(|service| self.endpoints(service));
                all.map(|item| self.labelled(item, "Service")).collect()
            }
            "EndpointSlice" => {
                written().chain(services().flat_map(|service| self.derived_slices(service))).collect()
            }
            _ if kind.is_workload() => {
                let declared = self.declared.iter().filter(|object| object.kind == kind.name);
                declared.map(|object| self.with_status(object)).collect()
            }
            _ => written().collect(),
        }
    }

    /// With the labels of the object of that kind and its name, as they are written: a gateway keeps those alone that
    /// policy can ask for.
    fn labelled(&self, mut item: Value, kind: &str) -> Value {
        let metadata = &item["metadata"];
        let is_it = |object: &&RawObject| {
            object.kind == kind
                && metadata["name"] == object.name.as_str()
                && metadata["namespace"].as_str() == object.namespace.as_deref()
        };
        if metadata.get("labels").is_none()
            && let Some(labels) =
                self.declared.iter().find(is_it).map(|object| &object.value["metadata"]["labels"])
            && !labels.is_null()
        {
            item["metadata"]["labels"] = labels.clone();
        }
        item
    }

    /// A workload, with the number of its pods.
    fn with_status(&self, object: &RawObject) -> Value {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let (cluster, owners) = (&self.survey.cluster, &self.survey.background.owners);
        let pods = cluster.pods().values().filter(|pod| pod.key.namespace == namespace);
        let pods = pods.filter(|pod| {
            owners.get(&pod.key).is_some_and(|owner| owner.kind == object.kind && owner.name == object.name)
        });
        let (mut all, mut ready) = (0, 0);
        for pod in pods {
            all += 1;
            ready += usize::from(pod.ready);
        }
        let mut value = object.value.clone();
        value["metadata"]["namespace"] = json!(namespace);
        value["status"] = json!({"replicas": all, "readyReplicas": ready});
        value
    }

    /// What is behind a Service: the endpoints that new connections go to.
    fn endpoints(&self, service: &Service) -> Option<Value> {
        if matches!(service.kind, ServiceKind::External(_)) {
            return None;
        }
        let mut subsets = Vec::new();
        for port in &service.ports {
            for Backend { address, port: number, condition, .. } in
                backends(&self.survey.cluster, service, port)
            {
                if condition == Condition::Ready {
                    let ports = json!([{"port": number, "protocol": port.protocol.name()}]);
                    subsets.push(json!({"addresses": [{"ip": address}], "ports": ports}));
                }
            }
        }
        if service.ports.is_empty() {
            let all = endpoints(&self.survey.cluster, service).into_iter();
            let ready = all.filter(|one| one.condition == Condition::Ready);
            subsets.extend(ready.map(|one| json!({"addresses": [{"ip": one.address}], "ports": []})));
        }
        let metadata = json!({"namespace": service.key.namespace, "name": service.key.name});
        Some(json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}))
    }

    /// The lists that a cluster would keep for a Service with a selector, one a family, where nobody has written any.
    fn derived_slices(&self, service: &Service) -> Vec<Value> {
        let cluster = &self.survey.cluster;
        let has_written = cluster.endpoint_slices().values().any(|slice| slice.service == service.key);
        if has_written || service.selector.is_empty() {
            return Vec::new();
        }
        let mut ports: Vec<Value> = Vec::new();
        for port in &service.ports {
            for backend in backends(cluster, service, port) {
                let mut item = json!({"port": backend.port, "protocol": port.protocol.name()});
                if let Some(name) = &port.name {
                    item["name"] = json!(name);
                }
                if !ports.contains(&item) {
                    ports.push(item);
                }
            }
        }
        let all = endpoints(cluster, service);
        let slice = |family: &str, is_v4: bool| {
            let mine = all.iter().filter(|one| one.address.is_ipv4() == is_v4);
            let mine: Vec<Value> = mine
                .map(|one| {
                    let conditions = json!({"ready": one.condition == Condition::Ready});
                    json!({"addresses": [one.address], "conditions": conditions})
                })
                .collect();
            let metadata = json!({
                "namespace": service.key.namespace,
                "name": format!("{}-{}", service.key.name, family.to_lowercase()),
                "labels": {"kubernetes.io/service-name": service.key.name},
            });
            (!mine.is_empty()).then(|| {
                json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": metadata,
                    "addressType": family,
                    "ports": ports,
                    "endpoints": mine,
                })
            })
        };
        [slice("IPv4", true), slice("IPv6", false)].into_iter().flatten().collect()
    }
}
