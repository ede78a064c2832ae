//! The records of a cluster and of the hosts outside it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use hickory_proto::rr::rdata::{CNAME, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData};

use super::zone::{Zone, below, dashes};
use crate::model::{Cluster, Condition, Service, ServiceKind, ServicePort};
use crate::service::{backends, endpoints};

/// The version of the specification that the names follow.
const SCHEMA: &str = "1.0.1";

/// Of no consequence as long as all have the same (RFC 2782).
const PRIORITY: u16 = 0;
const WEIGHT: u16 = 100;

/// A host outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Its name, as clients ask for it.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Puts all there are into `zone`.
pub(super) fn put_records(zone: &mut Zone, cluster: &Cluster, outside: &[Outside]) {
    if let Some(name) = below(&zone.apex, "dns-version") {
        zone.put(&name, RData::TXT(TXT::new(vec![SCHEMA.to_owned()])));
    }
    for service in cluster.services().values() {
        let namespace = below(&zone.services, &service.key.namespace);
        let Some(name) = namespace.and_then(|namespace| below(&namespace, &service.key.name)) else {
            continue;
        };
        match &service.kind {
            ServiceKind::Cluster(addresses) => put_cluster(zone, &name, service, addresses),
            ServiceKind::Headless => put_headless(zone, &name, cluster, service),
            ServiceKind::External(target) => match absolute(target) {
                Some(target) => zone.put(&name, RData::CNAME(CNAME(target))),
                None => zone.exists(&name),
            },
        }
    }
    for host in outside {
        let Some(name) = absolute(&host.name) else { continue };
        for address in &host.addresses {
            zone.put_address(&name, *address);
            zone.put(&reverse(*address), RData::PTR(PTR(name.clone())));
        }
    }
}

/// Sections 2.3.1 to 2.3.3.
fn put_cluster(zone: &mut Zone, name: &Name, service: &Service, addresses: &[IpAddr]) {
    // One that waits for an address exists all the same.
    zone.exists(name);
    for address in addresses {
        zone.put_address(name, *address);
        zone.put(&reverse(*address), RData::PTR(PTR(name.clone())));
    }
    for port in &service.ports {
        if let Some(at) = port_name(name, port) {
            zone.put(&at, srv(port.port, name.clone()));
        }
    }
}

/// Sections 2.4.1 to 2.4.3. Without a ready endpoint the name does not exist.
fn put_headless(zone: &mut Zone, name: &Name, cluster: &Cluster, service: &Service) {
    let mut hosts: HashMap<IpAddr, Name> = HashMap::new();
    let ready = endpoints(cluster, service).into_iter().filter(|found| found.condition == Condition::Ready);
    for endpoint in ready {
        let address = endpoint.address;
        zone.put_address(name, address);
        let label = endpoint.hostname.unwrap_or_else(|| dashes(address));
        if let Some(host) = below(name, &label) {
            zone.put_address(&host, address);
            zone.put(&reverse(address), RData::PTR(PTR(host.clone())));
            hosts.insert(address, host);
        }
    }
    for port in &service.ports {
        let Some(at) = port_name(name, port) else { continue };
        let mut listed = HashSet::new();
        for backend in backends(cluster, service, port) {
            // A host with an address of each family is one host.
            if let Some(host) = hosts.get(&backend.address)
                && listed.insert((host, backend.port))
            {
                zone.put(&at, srv(backend.port, host.clone()));
            }
        }
    }
}

/// `_http._tcp.NAME`; none for a port without a name, which has no such record.
fn port_name(service: &Name, port: &ServicePort) -> Option<Name> {
    let protocol = format!("_{}", port.protocol.name().to_ascii_lowercase());
    below(&below(service, &protocol)?, &format!("_{}", port.name.as_ref()?))
}

fn srv(port: u16, target: Name) -> RData {
    RData::SRV(SRV::new(PRIORITY, WEIGHT, port, target))
}

/// The name at which an address' own names are asked for.
fn reverse(address: IpAddr) -> Name {
    let mut name = Name::from(address);
    name.set_fqdn(true);
    name
}

/// What is written as a name is meant from the root, with a dot at the end or without.
fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}
