//! The compiled table, asked one connection at a time.

use std::cell::OnceCell;
use std::net::IpAddr;

use podgate_dataplane::policy::{Cause, Endpoint, RuleId};
use podgate_flowtable::{Addr, Epoch, IpProtocol};

use crate::compile::{CompileError, Compiled, Limits, Locality, Settings, compile};
use crate::model::{Cluster, NetworkPolicy, ObjectKey};

/// A connection to ask about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// The protocol.
    pub protocol: IpProtocol,
    /// The destination port; 0 for a protocol without ports.
    pub port: u16,
}

/// What both sides say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The source's.
    pub egress: Said,
    /// The destination's, whatever the source's says.
    pub ingress: Said,
}

/// What one side says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// It is no pod.
    NoPod,
    /// No policy isolates it in this direction.
    NotIsolated,
    /// The source is the pod's own node.
    OwnNode,
    /// Both ends are the same pod.
    Itself,
    /// This rule allows it.
    Rule {
        /// The policy.
        policy: ObjectKey,
        /// Which of its rules in this direction, from 0.
        index: usize,
    },
    /// It is isolated, and no rule allows it.
    Denied,
}

/// A cluster as its gateways would decide, every pod by its own node's.
pub struct Judge {
    cluster: Cluster,
    compiled: Compiled,
    /// Without egress rules: what the destination says when the source has already denied.
    ingress: OnceCell<Compiled>,
}

/// What a table on one machine for all nodes of a cluster may grow to: half a gigabyte.
const LIMITS: Limits = Limits { identities: 1 << 20, cells: 128 << 20 };

impl Judge {
    /// Compiles `cluster`.
    pub fn new(cluster: &Cluster) -> Result<Self, CompileError> {
        Ok(Self { cluster: cluster.clone(), compiled: compiled(cluster)?, ingress: OnceCell::new() })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The table and what the compiler had to say.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Whether the connection may open.
    pub fn allows(&self, ask: Ask) -> bool {
        decide(&self.compiled, ask).allows()
    }

    /// What stands behind an address.
    pub fn resolve(&self, address: IpAddr) -> Endpoint {
        self.compiled.snapshot.endpoints.resolve(Addr::from(address))
    }

    /// `namespace/name` or `node:name` of what stands behind an address.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.compiled.snapshot.names.endpoint(self.resolve(address).id?)
    }

    /// What both sides say.
    pub fn verdict(&self, ask: Ask) -> Result<Verdict, CompileError> {
        let verdict = decide(&self.compiled, ask);
        let egress = said(&self.compiled, verdict.egress);
        if verdict.ingress != Cause::NotReached {
            return Ok(Verdict { egress, ingress: said(&self.compiled, verdict.ingress) });
        }
        let ingress = match self.ingress.get() {
            Some(compiled) => compiled,
            None => {
                let compiled = compiled(&ingress_alone(&self.cluster))?;
                self.ingress.get_or_init(|| compiled)
            }
        };
        Ok(Verdict { egress, ingress: said(ingress, decide(ingress, ask).ingress) })
    }
}

impl Said {
    /// Whether this side allows.
    pub fn allows(&self) -> bool {
        *self != Self::Denied
    }
}

impl Verdict {
    /// Whether both sides allow.
    pub fn allows(&self) -> bool {
        self.egress.allows() && self.ingress.allows()
    }
}

fn compiled(cluster: &Cluster) -> Result<Compiled, CompileError> {
    let settings = Settings { limits: LIMITS, ..Settings::new(Epoch(1), 0) };
    compile(cluster, &Locality::Everything, &[], settings)
}

fn decide(compiled: &Compiled, ask: Ask) -> podgate_dataplane::policy::PolicyVerdict {
    compiled.decide(Addr::from(ask.from), Addr::from(ask.to), ask.protocol, ask.port)
}

fn said(compiled: &Compiled, cause: Cause) -> Said {
    match cause {
        Cause::NotLocal => Said::NoPod,
        Cause::NotIsolated => Said::NotIsolated,
        Cause::OwnNode => Said::OwnNode,
        Cause::Itself => Said::Itself,
        Cause::Rule(id) => rule(compiled, id).unwrap_or(Said::Denied),
        // A table never answers that a flow was carried over from another one.
        Cause::DefaultDeny | Cause::NotReached | Cause::Carried => Said::Denied,
    }
}

fn rule(compiled: &Compiled, id: RuleId) -> Option<Said> {
    let (policy, rule) = compiled.snapshot.names.rule(id)?;
    Some(Said::Rule { policy: policy.parse().ok()?, index: rule.index as usize })
}

fn ingress_alone(cluster: &Cluster) -> Cluster {
    let mut alone = cluster.clone();
    for policy in cluster.policies().values() {
        let mut policy = NetworkPolicy::clone(policy);
        policy.types.egress = false;
        alone.put_policy(policy);
    }
    alone
}
