//! Addresses of Services to their ports.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use podgate_flowtable::{Addr, IpProtocol, Target, Tuple};

use super::maglev::{Maglev, position};
use crate::policy::AddrHasher;

/// What a client connects to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ServiceKey {
    /// The Service's address.
    pub addr: Addr,
    /// The Service's port, host order.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: IpProtocol,
}

/// One port of a Service; by default nobody's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServicePort {
    /// `namespace/name` of the Service.
    pub name: Arc<str>,
    /// What connections go to.
    pub backends: Arc<Maglev>,
    /// Backends that only existing connections may still go to, sorted.
    pub leaving: Box<[Target]>,
    /// How long a client keeps its backend after its last connection.
    pub affinity: Option<Duration>,
}

/// Every Service that is translated.
#[derive(Clone, Debug, Default)]
pub struct Services {
    ports: HashMap<ServiceKey, ServicePort, AddrHasher>,
    addresses: HashSet<Addr, AddrHasher>,
    hasher: AddrHasher,
}

/// What is behind an address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// No Service.
    Other,
    /// A Service's address, but none of its ports.
    NoPort,
    /// A port of a Service.
    Port(&'a ServicePort),
}

impl Services {
    /// From all ports. `seed` keys the hashes.
    pub fn new(ports: impl IntoIterator<Item = (ServiceKey, ServicePort)>, seed: u64) -> Self {
        let hasher = AddrHasher::new(seed);
        let mut services =
            Self { ports: HashMap::with_hasher(hasher), addresses: HashSet::with_hasher(hasher), hasher };
        for (key, port) in ports {
            services.insert(key, port);
        }
        services
    }

    /// Adds a port or replaces it.
    pub fn insert(&mut self, key: ServiceKey, port: ServicePort) {
        self.addresses.insert(key.addr);
        self.ports.insert(key, port);
    }

    /// What a packet with this tuple asks for.
    #[inline]
    pub fn find(&self, tuple: &Tuple) -> Found<'_> {
        if !self.has(tuple.destination) {
            return Found::Other;
        }
        let Tuple { destination: addr, destination_port: port, protocol, .. } = *tuple;
        self.ports.get(&ServiceKey { addr, port, protocol }).map_or(Found::NoPort, Found::Port)
    }

    /// The port of a Service with this key.
    pub fn port(&self, key: &ServiceKey) -> Option<&ServicePort> {
        self.ports.get(key)
    }

    /// Whether `addr` is a Service's.
    #[inline]
    pub fn has(&self, addr: Addr) -> bool {
        !self.addresses.is_empty() && self.addresses.contains(&addr)
    }

    /// A number for the connection of `tuple`, or of its client alone: the same packet has the same, and
    /// no client can choose one.
    pub fn hash(&self, tuple: &Tuple, client_only: bool) -> u64 {
        use std::hash::BuildHasher;
        let port = if client_only { 0 } else { tuple.source_port };
        let client = self.hasher.hash_one((tuple.source.bits(), port));
        self.hasher.hash_one((client, tuple.destination.bits(), tuple.destination_port, tuple.protocol.0))
    }

    /// How many ports there are.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Every port.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &ServicePort)> {
        self.ports.iter()
    }
}

impl ServicePort {
    /// Whether a connection that has gone to `target` may go on there.
    pub fn serves(&self, target: Target) -> bool {
        self.backends.has(target) || position(&self.leaving, target).is_some()
    }
}
