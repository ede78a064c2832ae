//! Everything a worker needs to decide, as of one moment. Immutable.

use std::collections::HashMap;
use std::sync::Arc;

use podgate_flowtable::{Addr, Epoch, IpProtocol};

use crate::chunks::Chunks;
use crate::mac::Mac;
use crate::policy::{
    Cause, Endpoint, EndpointId, EndpointKind, EndpointMap, Handovers, PolicyTable, PolicyVerdict, RuleId,
};
use crate::service::Services;
use crate::tag::{MAX_PORTS, PortId};

/// The pod behind a guarded port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortBinding {
    /// The pod.
    pub endpoint: EndpointId,
    /// The MAC address of the pod's own device.
    pub mac: Mac,
    /// The pod's addresses; link-local ones too.
    pub addresses: Box<[Addr]>,
}

impl PortBinding {
    /// Whether `addr` is the pod's. The link-local address formed from its MAC address is, listed
    /// or not: the pod's kernel makes it before anyone can list it.
    #[inline]
    pub fn owns(&self, addr: Addr) -> bool {
        self.addresses.contains(&addr) || addr == self.mac.link_local()
    }
}

/// What a rule is called: the policy it stands in, the direction, and which of its rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RuleName {
    /// Index in [`Names::policies`].
    pub policy: u32,
    /// Whether it stands under `egress`.
    pub egress: bool,
    /// Position under `ingress` or `egress`, from 0.
    pub index: u32,
}

/// Which policies isolate an endpoint; they are named when nothing allows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Isolation {
    /// Policies that isolate it for egress (indices in [`Names::policies`]).
    pub egress: Arc<[u32]>,
    /// Policies that isolate it for ingress.
    pub ingress: Arc<[u32]>,
}

/// Names for the numbers. Never read for a frame, only to say what happened to one. A number that is
/// not in use has an empty name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// `namespace/name` of each policy.
    pub policies: Chunks<Arc<str>>,
    /// Each rule, by [`RuleId`].
    pub rules: Chunks<RuleName>,
    /// `namespace/name` of pods, `node:name` of nodes, by [`EndpointId`].
    pub endpoints: Chunks<Arc<str>>,
    /// What isolates each endpoint, by [`EndpointId`].
    pub isolation: Chunks<Isolation>,
}

impl Names {
    /// `namespace/name` of the endpoint.
    pub fn endpoint(&self, id: EndpointId) -> Option<&str> {
        self.endpoints.get(id.0 as usize).map(AsRef::as_ref)
    }

    /// The policy a rule stands in, and the rule.
    pub fn rule(&self, id: RuleId) -> Option<(&str, &RuleName)> {
        let rule = self.rules.get(id.0 as usize)?;
        Some((self.policies.get(rule.policy as usize)?, rule))
    }

    /// Bytes held on the heap, those that snapshots share included.
    pub fn heap_bytes(&self) -> usize {
        let text = self.policies.iter().chain(self.endpoints.iter()).map(|name| name.len()).sum::<usize>();
        text + self.policies.heap_bytes()
            + self.rules.heap_bytes()
            + self.endpoints.heap_bytes()
            + self.isolation.heap_bytes()
    }
}

/// Switches of the step that an operator can turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switches {
    /// Drop tunnels from pods to node addresses, whatever policy says. On by default: what the
    /// node unwraps carries an inner source of the sender's choice.
    pub drop_tunnels_to_nodes: bool,
    /// Decide live flows again when policy changes, and cut those no longer allowed. On by default.
    pub recheck_live_flows: bool,
    /// Let a pod open connections to its own node whatever policy says of its egress. Off by default:
    /// the API leaves it open (the concept page's overview has such an exception, the reference of
    /// `egress` has none).
    pub allow_egress_to_own_node: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { drop_tunnels_to_nodes: true, recheck_live_flows: true, allow_egress_to_own_node: false }
    }
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its number; every publication has a new one.
    pub epoch: Epoch,
    /// The pod behind each port, by port number.
    ports: Box<[Option<PortBinding>]>,
    /// The port of each pod's MAC address; `None` if two pods have the same one.
    macs: HashMap<Mac, Option<PortId>>,
    /// Addresses to identities.
    pub endpoints: EndpointMap,
    /// Pairs of identities to allowed ports.
    pub policy: PolicyTable,
    /// Services that are translated.
    pub services: Arc<Services>,
    /// Ranges (first, last) out of which this node's pods have their addresses.
    pub pod_ranges: Box<[(Addr, Addr)]>,
    /// Addresses that are another pod's than they were.
    pub handovers: Handovers,
    /// Switches.
    pub switches: Switches,
    /// Names, for events and tools.
    pub names: Names,
}

impl Snapshot {
    /// A snapshot in which no port is bound.
    pub fn new(
        epoch: Epoch,
        endpoints: EndpointMap,
        policy: PolicyTable,
        switches: Switches,
        names: Names,
    ) -> Self {
        let (ports, macs) = (vec![None; MAX_PORTS].into(), HashMap::new());
        let services = Arc::default();
        let (pod_ranges, handovers) = (Box::default(), Handovers::default());
        Self { epoch, ports, macs, endpoints, policy, services, pod_ranges, handovers, switches, names }
    }

    /// The same with these Services.
    pub fn with_services(self, services: impl Into<Arc<Services>>) -> Self {
        Self { services: services.into(), ..self }
    }

    /// Binds `port` to a pod.
    pub fn bind(&mut self, port: PortId, binding: PortBinding) {
        let mac = binding.mac;
        if let Some(earlier) = self.ports[port.index()].take() {
            let mut others = self.bindings().filter(|(_, other)| other.mac == earlier.mac);
            let remaining = others.next().map(|(other, _)| other).filter(|_| others.next().is_none());
            drop(others);
            self.macs.insert(earlier.mac, remaining);
        }
        let is_shared = self.macs.contains_key(&mac) && self.bindings().any(|(_, other)| other.mac == mac);
        self.macs.insert(mac, (!is_shared).then_some(port));
        self.ports[port.index()] = Some(binding);
    }

    /// The pod behind `port`, if one is known.
    #[inline]
    pub fn binding(&self, port: PortId) -> Option<&PortBinding> {
        self.ports[port.index()].as_ref()
    }

    /// The port of the pod with this MAC address, if there is exactly one.
    pub fn port_of(&self, mac: Mac) -> Option<PortId> {
        self.macs.get(&mac).copied().flatten()
    }

    /// What stands behind `addr`. A local pod's autoconfigured link-local address is that pod, or
    /// policy would take it for an address outside and let it pass.
    #[inline]
    pub fn resolve(&self, addr: Addr) -> Endpoint {
        let endpoint = self.endpoints.resolve(addr);
        if endpoint.kind == EndpointKind::Outside
            && let Some(mac) = Mac::of_link_local(addr)
            && let Some(port) = self.port_of(mac)
            && let Some(pod) = self.pod(port, addr)
        {
            return pod;
        }
        endpoint
    }

    /// Whether `addr` is one that only pods of this node have, known or not.
    pub fn is_for_pods(&self, addr: Addr) -> bool {
        self.pod_ranges.iter().any(|(first, last)| (*first..=*last).contains(&addr))
    }

    /// The pod behind `port`, as policy sees it when it uses `addr`, one of its own. Identities may
    /// differ by address (`ipBlock`); a link-local address has that of another of its family.
    pub fn pod(&self, port: PortId, addr: Addr) -> Option<Endpoint> {
        let binding = self.binding(port)?;
        let known = |addr: Addr| {
            let endpoint = self.endpoints.resolve(addr);
            let is_it = matches!(endpoint.kind, EndpointKind::LocalPod { .. })
                && endpoint.id == Some(binding.endpoint);
            is_it.then_some(endpoint)
        };
        known(addr)
            .or_else(|| {
                let same_family = binding.addresses.iter().filter(|other| other.is_v4() == addr.is_v4());
                same_family.copied().find_map(known)
            })
            .or_else(|| binding.addresses.iter().copied().find_map(known))
    }

    /// Whether a new flow may open: what policy says, and the switches.
    #[inline]
    pub fn decide(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        protocol: IpProtocol,
        port: u16,
    ) -> PolicyVerdict {
        let verdict = self.policy.decide(source, destination, protocol, port);
        if self.switches.allow_egress_to_own_node
            && verdict.egress == Cause::DefaultDeny
            && destination.kind == EndpointKind::OwnNode
        {
            return PolicyVerdict { egress: Cause::OwnNode, ingress: Cause::NotLocal };
        }
        verdict
    }

    /// Every bound port.
    pub fn bindings(&self) -> impl Iterator<Item = (PortId, &PortBinding)> {
        self.ports
            .iter()
            .enumerate()
            .filter_map(|(number, binding)| Some((PortId::new(number as u16)?, binding.as_ref()?)))
    }
}
