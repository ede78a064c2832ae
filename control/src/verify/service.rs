//! What a Service of a case leads to.

use super::{Family, ServiceSpec, Transport, World, WorldError};
use crate::model::{Condition, Families, ObjectKey, Service, ServiceKind, ServicePort, TargetPort};
use crate::service::{Backend, backends};

impl World {
    /// Where connections to a port of a Service go: what is ready behind it, by addresses of one
    /// family, the Service's own if none is asked for.
    pub fn backends(
        &self,
        service: &ObjectKey,
        port: u16,
        protocol: Transport,
        family: Option<Family>,
    ) -> Result<Vec<Backend>, WorldError> {
        let absent = || WorldError::Absent { what: format!("Service {service} with port {port}/{protocol}") };
        let found = self.cluster().services().get(service).ok_or_else(absent)?;
        let is_it =
            |known: &&ServicePort| known.port == port && Some(known.protocol) == protocol.policy_protocol();
        let known = found.ports.iter().find(is_it).ok_or_else(absent)?;
        let family = family.or_else(|| found.cluster_ips().first().map(|address| Family::of(*address)));
        let mut all = backends(self.cluster(), found, known);
        all.retain(|backend| {
            backend.condition == Condition::Ready && family.is_none_or(|family| family.holds(backend.address))
        });
        Ok(all)
    }
}

impl ServiceSpec {
    /// As an object.
    pub(super) fn object(&self) -> Result<Service, WorldError> {
        let key = ObjectKey::new(&self.namespace, &self.name);
        let port = |port: &super::ServicePort| {
            let protocol = port.protocol.policy_protocol().ok_or_else(|| WorldError::Refused {
                what: format!("Service {key}"),
                reason: "a port of ICMP".to_owned(),
            })?;
            let target = match &port.target_port {
                None => TargetPort::Number(port.port),
                Some(super::TargetPort::Number(number)) => TargetPort::Number(*number),
                Some(super::TargetPort::Name(name)) => TargetPort::Named(name.clone()),
            };
            Ok(ServicePort { name: None, protocol, port: port.port, target })
        };
        Ok(Service {
            ports: self.ports.iter().map(port).collect::<Result<_, _>>()?,
            kind: ServiceKind::Cluster(self.cluster_ips.clone()),
            selector: self.selector.clone(),
            affinity_secs: None,
            publish_not_ready: false,
            families: Families::default(),
            key,
        })
    }
}
