//! The Service that an address belongs to.

use std::net::IpAddr;

use crate::model::{Cluster, Service};

/// The Service with this address. `None` where none has it, or more than one: to guess would send a
/// client's connections to somebody else.
pub fn service_at(cluster: &Cluster, address: IpAddr) -> Option<&Service> {
    let mut having = cluster.services().values().filter(|service| service.cluster_ips().contains(&address));
    let first = having.next()?;
    having.next().is_none().then_some(first.as_ref())
}
