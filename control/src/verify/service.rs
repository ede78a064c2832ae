//! What a Service leads to.

use std::net::IpAddr;

use super::{Family, ServiceSpec, TargetPort, Transport, World, WorldError};
use crate::model::{ObjectKey, Pod};

/// A pod behind a Service, and the port that the Service's stands for there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    /// The pod.
    pub pod: ObjectKey,
    /// Its port.
    pub port: u16,
}

impl World {
    /// The pods behind a port of a Service.
    pub fn backends(
        &self,
        service: &ObjectKey,
        port: u16,
        protocol: Transport,
        family: Option<Family>,
    ) -> Result<Vec<Backend>, WorldError> {
        let absent = || WorldError::Absent { what: format!("Service {service} with port {port}/{protocol}") };
        let spec = self.services.get(service).ok_or_else(absent)?;
        let of_it =
            |pod: &&Pod| pod.key.namespace == service.namespace && pod.is_live() && selects(spec, pod);
        let pods = self.cluster().pods().values().filter(of_it);
        let has_family = |pod: &&Pod| {
            family.is_none_or(|family| pod.addresses.iter().any(|address: &IpAddr| family.holds(*address)))
        };
        let mut wanted = spec.ports.iter().filter(|known| known.port == port && known.protocol == protocol);
        let target = wanted.next().ok_or_else(absent)?.target_port.as_ref();
        let target_on = |pod: &Pod| match target {
            None => Some(port),
            Some(TargetPort::Number(number)) => Some(*number),
            Some(TargetPort::Name(name)) => pod
                .ports
                .iter()
                .find(|known| {
                    known.name.as_ref() == Some(name) && Some(known.protocol) == protocol.policy_protocol()
                })
                .map(|known| known.port),
        };
        Ok(pods
            .filter(has_family)
            .filter_map(|pod| Some(Backend { pod: pod.key.clone(), port: target_on(pod)? }))
            .collect())
    }
}

fn selects(spec: &ServiceSpec, pod: &Pod) -> bool {
    !spec.selector.is_empty() && spec.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}
