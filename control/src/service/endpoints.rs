//! The endpoints of a Service whatever its ports are: a headless one need not have any.

use std::net::IpAddr;

use super::backends::{addresses, condition, has_all};
use crate::model::{Cluster, Condition, ObjectKey, Pod, Service, ServiceKind};

/// An endpoint of a Service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// What it can be used for.
    pub condition: Condition,
    /// What it is called under the Service's name.
    pub hostname: Option<String>,
}

/// All endpoints of `service`, of the families that it has, in the order of their addresses, each once.
///
/// They are listed, or derived from the selector, as for [`backends`](super::backends()).
pub fn endpoints(cluster: &Cluster, service: &Service) -> Vec<Endpoint> {
    if matches!(service.kind, ServiceKind::External(_)) {
        return Vec::new();
    }
    let namespace = &service.key.namespace;
    let slices = cluster.endpoint_slices().range(ObjectKey::new(namespace, "")..);
    let mut slices = slices
        .take_while(|(key, _)| key.namespace == *namespace)
        .map(|(_, slice)| slice)
        .filter(|slice| slice.service == service.key)
        .peekable();
    let mut found: Vec<Endpoint> = if slices.peek().is_some() {
        let listed = slices.flat_map(|slice| &slice.endpoints);
        let each = listed.flat_map(|endpoint| {
            endpoint.addresses.iter().map(|address| Endpoint {
                address: *address,
                condition: endpoint.condition,
                hostname: endpoint.hostname.clone(),
            })
        });
        each.collect()
    } else if service.selector.is_empty() {
        Vec::new()
    } else {
        let pods = cluster.pods().range(ObjectKey::new(namespace, "")..);
        pods.take_while(|(key, _)| key.namespace == *namespace)
            .map(|(_, pod)| pod.as_ref())
            .filter(|pod| pod.is_live() && has_all(&pod.labels, &service.selector))
            .flat_map(|pod| derived(cluster, service, pod))
            .collect()
    };
    found.retain(|endpoint| service.has_family_of(endpoint.address));
    found.sort_unstable();
    found.dedup_by(|next, before| next.address == before.address);
    found
}

/// A pod has its name under the Service that it names itself, and under no other (endpoint slice
/// controller, `podToEndpoint`).
fn derived<'a>(
    cluster: &'a Cluster,
    service: &'a Service,
    pod: &'a Pod,
) -> impl Iterator<Item = Endpoint> + use<'a> {
    let is_its_own = pod.subdomain.as_ref() == Some(&service.key.name);
    addresses(cluster, pod).iter().map(move |address| Endpoint {
        address: *address,
        condition: condition(pod, service.publish_not_ready),
        hostname: pod.hostname.clone().filter(|_| is_its_own),
    })
}
