//! Ports that are a Service's and not the pod's.

use std::fmt;
use std::ops::RangeInclusive;

use crate::model::{Cluster, ObjectKey, Protocol, ServiceKind, ServicePort, TargetPort};
use crate::service::backends;

/// A Service's port that leads to another one of a pod.
pub(in crate::tools) struct Leads {
    service: ObjectKey,
    own: ServicePort,
    /// The pod's port.
    pub(in crate::tools) port: u16,
}

impl fmt::Display for Leads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, service, port) = (self.own.title(), &self.service, self.port);
        write!(f, "{own} is the port of Service {service}, whose pods listen on {port}")?;
        match &self.own.target {
            TargetPort::Number(_) => Ok(()),
            TargetPort::Named(name) => write!(f, " ({name})"),
        }
    }
}

/// The Service of which one of these ports leads to another one of the pod.
pub(in crate::tools) fn in_front(
    cluster: &Cluster,
    pod: &ObjectKey,
    protocol: Protocol,
    ports: RangeInclusive<u16>,
) -> Option<Leads> {
    let services = cluster.services().range(ObjectKey::new(&pod.namespace, "")..);
    let services = services.take_while(|(key, _)| key.namespace == pod.namespace);
    let mut services = services.filter(|(_, service)| service.kind != ServiceKind::Headless);
    services.find_map(|(key, service)| {
        let own = service.ports.iter().filter(|own| own.protocol == protocol && ports.contains(&own.port));
        let mut leads = own.filter_map(|own| {
            let behind = backends(cluster, service, own);
            let there = behind.into_iter().find(|backend| backend.pod.as_ref() == Some(pod))?;
            Some(Leads { service: key.clone(), own: own.clone(), port: there.port })
        });
        leads.find(|leads| !ports.contains(&leads.port))
    })
}
