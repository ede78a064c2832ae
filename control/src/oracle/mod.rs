//! The naive evaluator that tests compare with.
//!
//! It reads the API's rules off the model one by one, for one pair of addresses at a time, and
//! shares nothing with the compiler but the model's types: no numbers, no sets, no order but that
//! of the sentences in the NetworkPolicy v1 documentation (types.go and the concept page). It is
//! slow on purpose; where the two differ, this one is to be read first.
//!
//! ```text
//! whom   what stands behind an address
//! rule   whether a rule matches
//! ```

mod rule;
mod whom;

use std::net::IpAddr;

use podgate_flowtable::IpProtocol;

use self::rule::allows_flow;
use self::whom::Whom;
use crate::compile::Locality;
use crate::model::{Cluster, ObjectKey, Pod};

/// A new flow: where to, by what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// The protocol.
    pub protocol: IpProtocol,
    /// The destination port; without meaning for a protocol without ports.
    pub port: u16,
}

/// What each side says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The source's.
    pub egress: Side,
    /// The destination's, whatever the source's says.
    pub ingress: Side,
}

/// What one side says, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Side {
    /// It is no pod of this node.
    NotLocal,
    /// No policy isolates the pod in this direction.
    NotIsolated,
    /// The source is the pod's own node.
    OwnNode,
    /// Both ends are the same pod.
    Itself,
    /// These rules allow it: policy and position, in order.
    Allowed(Vec<(ObjectKey, usize)>),
    /// It is isolated, and no rule allows it.
    Denied,
}

impl Verdict {
    /// Whether the flow may open: both sides must allow it.
    pub fn allows(&self) -> bool {
        self.egress != Side::Denied && self.ingress != Side::Denied
    }
}

/// What the policies in `cluster` say of `flow`, seen from `locality`.
pub fn judge(cluster: &Cluster, locality: &Locality, flow: Flow) -> Verdict {
    let from = Whom::is(cluster, locality, flow.from);
    let to = Whom::is(cluster, locality, flow.to);
    if let (Whom::Pod(one), Whom::Pod(other)) = (&from, &to)
        && one.key == other.key
    {
        // "A Pod cannot block access to itself" (concept page).
        return Verdict { egress: Side::Itself, ingress: Side::Itself };
    }
    let egress = match &from {
        Whom::Pod(pod) if is_local(locality, pod) => side(cluster, pod, &to, true, flow),
        _ => Side::NotLocal,
    };
    let ingress = match (&to, &from) {
        (Whom::Pod(pod), from) if is_local(locality, pod) => {
            // "... OR if the traffic source is the pod's local node" (types.go).
            if from.is_node_of(locality, pod) { Side::OwnNode } else { side(cluster, pod, from, false, flow) }
        }
        _ => Side::NotLocal,
    };
    Verdict { egress, ingress }
}

/// What the policies that select `subject` say.
fn side(cluster: &Cluster, subject: &Pod, peer: &Whom<'_>, egress: bool, flow: Flow) -> Side {
    let mut isolated = false;
    let mut allowing = Vec::new();
    for policy in cluster.policies().values() {
        let applies = if egress { policy.types.egress } else { policy.types.ingress };
        if policy.key.namespace != subject.key.namespace
            || !applies
            || !rule::selects(&policy.pod_selector, &subject.labels)
        {
            continue;
        }
        isolated = true;
        let rules = if egress { &policy.egress } else { &policy.ingress };
        let destination = if egress { peer.pod() } else { Some(subject) };
        for (index, rule) in rules.iter().enumerate() {
            if allows_flow(cluster, policy, rule, peer, destination, egress, flow) {
                allowing.push((policy.key.clone(), index));
            }
        }
    }
    match (isolated, allowing.is_empty()) {
        (false, _) => Side::NotIsolated,
        (true, true) => Side::Denied,
        (true, false) => Side::Allowed(allowing),
    }
}

fn is_local(locality: &Locality, pod: &Pod) -> bool {
    match locality {
        Locality::Everything => true,
        Locality::Node { name, .. } => pod.node == *name,
    }
}
