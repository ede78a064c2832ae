//! The port of a Service that is asked for, and why there is none.

use super::PortQuery;
use crate::model::{Cluster, ObjectKey, Service, ServiceKind, ServicePort, TargetPort};
use crate::service::backends;

/// Why a Service cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// There is none of that name.
    #[error("there is no Service {service}{}", super::end::similar(known))]
    Unknown {
        /// What was asked for.
        service: ObjectKey,
        /// What there is instead.
        known: Vec<String>,
    },
    /// It is only another name.
    #[error(
        "Service {service} is another name for {host}: policy sees the address that DNS has for that; ask about it"
    )]
    External {
        /// The Service.
        service: ObjectKey,
        /// The host.
        host: String,
    },
    /// It has no such port.
    #[error("Service {service} has no port {port}: it has {has}{hint}")]
    NoSuchPort {
        /// The Service.
        service: ObjectKey,
        /// What was asked for.
        port: String,
        /// Its ports.
        has: String,
        /// What may have been meant.
        hint: String,
    },
    /// Nobody is behind it.
    #[error("nobody is behind {port} of Service {service}: {reason}")]
    NoBackend {
        /// The Service.
        service: ObjectKey,
        /// Its port.
        port: String,
        /// Why.
        reason: String,
    },
    /// Where others translate, its address is what counts, and it has none.
    #[error(
        "Service {service} has no clusterIP in its manifest: with --services off that is what policy sees; give it one"
    )]
    NoAddress {
        /// The Service.
        service: ObjectKey,
    },
    /// A Service opens no connection.
    #[error("a Service opens no connection: --from takes a pod, a workload, a node or an address")]
    AsSource,
}

/// The port of a Service that is asked for. A headless Service translates nothing: a number is the
/// backend's own.
pub(super) fn asked(
    cluster: &Cluster,
    service: &Service,
    port: &PortQuery,
) -> Result<ServicePort, ServiceError> {
    let key = &service.key;
    if let ServiceKind::External(host) = &service.kind {
        return Err(ServiceError::External { service: key.clone(), host: host.clone() });
    }
    let found = service.ports.iter().find(|own| match port {
        PortQuery::Number(protocol, number) => (own.protocol, own.port) == (*protocol, *number),
        PortQuery::Name(protocol, name) => {
            own.name.as_ref() == Some(name) && protocol.is_none_or(|known| own.protocol == known)
        }
        PortQuery::Icmp => false,
    });
    match (found, port) {
        (found, PortQuery::Number(protocol, number)) if service.kind == ServiceKind::Headless => {
            let name = found.or(service.ports.first()).and_then(|port| port.name.clone());
            let (protocol, port) = (*protocol, *number);
            Ok(ServicePort { name, protocol, port, target: TargetPort::Number(port) })
        }
        (Some(found), _) => Ok(found.clone()),
        (None, _) => {
            let is_target = |own: &&ServicePort| match (port, &own.target) {
                (PortQuery::Number(_, number), _) => {
                    backends(cluster, service, own).iter().any(|backend| backend.port == *number)
                }
                (PortQuery::Name(_, name), TargetPort::Named(target)) => name == target,
                _ => false,
            };
            let hint = match (port, service.ports.iter().find(is_target)) {
                (PortQuery::Icmp, _) => "; a Service answers no ping, its pods do".to_owned(),
                (_, Some(own)) => format!(
                    "; {port} is the port of the pods behind {}: ask for that one, or ask about a pod",
                    own.title()
                ),
                (_, None) => String::new(),
            };
            let has = service.ports.iter().map(named).collect::<Vec<_>>().join(", ");
            let has = if has.is_empty() { "none".to_owned() } else { has };
            Err(ServiceError::NoSuchPort { service: key.clone(), port: port.to_string(), has, hint })
        }
    }
}

/// `80/TCP (http)`.
fn named(port: &ServicePort) -> String {
    match &port.name {
        Some(name) => format!("{} ({name})", port.title()),
        None => port.title(),
    }
}
