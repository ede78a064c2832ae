//! Why one connection is allowed or denied.
//!
//! The verdict and the rule that allows are the compiled table's. Why no rule does is told rule by
//! rule, in words.
//!
//! ```text
//! end     who is asked about: a pod, a node, an address
//! leads   ports that are a Service's and not the pod's
//! port    which port: by number or by name
//! service from a Service to its backends
//! service_port  which of its ports is asked for
//! passage a connection to a Service that others translate: it is judged twice
//! why     why a rule does not match
//! remedy  the smallest rule that would allow it
//! render  all that as text
//! ```

mod end;
mod leads;
mod passage;
mod port;
mod remedy;
mod render;
mod service;
mod service_port;
mod why;

use podgate_flowtable::IpProtocol;
use serde::Serialize;

pub use self::end::{End, EndError, EndName, Workload};
pub(super) use self::leads::in_front;
pub use self::passage::Leaving;
pub use self::port::{PortError, PortQuery};
pub(super) use self::port::{declared, ip_protocol, policy_protocol};
pub use self::remedy::Remedy;
pub use self::render::render;
pub use self::service::{BackendReport, ServiceReport};
pub use self::service_port::ServiceError;
pub use self::why::{Miss, PolicyReport, RuleReport};
use super::{Ask, Judge, Said, Spot, Survey, words};
use crate::compile::CompileError;
use crate::model::{ObjectKey, Ports};
use crate::service::ServiceMode;

/// Why one connection is allowed or denied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Who opens it.
    pub from: End,
    /// To whom.
    pub to: End,
    /// The protocol.
    pub protocol: String,
    /// The destination port, if the protocol has ports.
    pub port: Option<u16>,
    /// Whether it may open.
    pub allowed: bool,
    /// The source's side.
    pub egress: Side,
    /// The destination's side, whatever the source's says.
    pub ingress: Side,
    /// What would have to be added to allow it.
    pub remedies: Vec<Remedy>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// What one side says, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Side {
    /// Whether it allows.
    pub allowed: bool,
    /// Why, in one word.
    pub because: Because,
    /// The rule that allows.
    pub rule: Option<RuleName>,
    /// The policies that isolate this end, and what each of their rules says.
    pub policies: Vec<PolicyReport>,
}

/// Why a side says what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// This end is no pod: no policy isolates it.
    NoPod,
    /// No policy isolates the pod in this direction.
    NotIsolated,
    /// A pod's own node may always reach it.
    OwnNode,
    /// A pod may always reach itself.
    Itself,
    /// A rule allows it.
    Rule,
    /// It is isolated, and no rule allows it.
    NoRule,
    /// It was asked on another node, where the connection was to the Service's address.
    AskedBefore,
}

/// Which rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleName {
    /// `namespace/name` of its policy.
    pub policy: String,
    /// Where it stands in it: `ingress[0]`.
    pub rule: String,
    /// In words.
    pub words: String,
    /// File and line.
    pub spot: Option<Spot>,
}

/// Why a connection cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// One of its ends.
    #[error(transparent)]
    End(#[from] EndError),
    /// Its port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The Service that is one.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// There is no table.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// All there is to say about a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Answers {
    /// Whether it may open, whichever of its addresses the ends use and whichever backend gets it.
    pub allowed: bool,
    /// What a Service makes of it first, if it goes to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReport>,
    /// An answer for each way that is treated differently.
    pub answers: Vec<Explanation>,
}

impl Answers {
    fn new(service: Option<ServiceReport>, answers: Vec<Explanation>) -> Self {
        Self { allowed: answers.iter().all(|answer| answer.allowed), service, answers }
    }
}

/// A connection, resolved.
pub(super) struct Case<'a> {
    pub(super) survey: &'a Survey,
    pub(super) from: &'a End,
    pub(super) to: &'a End,
    pub(super) protocol: IpProtocol,
    pub(super) port: u16,
}

impl Case<'_> {
    /// The Service whose port this is, where the pod has another one for it and does not declare this
    /// one: it is hardly the pod's that is meant.
    fn service_port(&self) -> Option<leads::Leads> {
        let pod = self.to.pod(&self.survey.cluster)?;
        let protocol = port::policy_protocol(self.protocol)?;
        let is_declared = pod.ports.iter().any(|port| (port.protocol, port.port) == (protocol, self.port));
        let leads = in_front(&self.survey.cluster, &pod.key, protocol, self.port..=self.port);
        leads.filter(|_| !is_declared)
    }
}

/// Explains a connection to whatever `to` is, a Service too.
pub fn ask(
    survey: &Survey,
    judge: &Judge,
    from: &EndName,
    to: &EndName,
    port: &PortQuery,
) -> Result<Answers, ExplainError> {
    if matches!(from, EndName::Service(_)) {
        return Err(ServiceError::AsSource.into());
    }
    match service::meant(&survey.cluster, to)? {
        Some(service) => service::answers(survey, judge, from, service, port),
        None => Ok(Answers::new(None, explain(survey, judge, from, to, port)?)),
    }
}

/// Explains a connection. Two dual-stack ends have one in each family: there are two answers if
/// they differ.
pub fn explain(
    survey: &Survey,
    judge: &Judge,
    from: &EndName,
    to: &EndName,
    port: &PortQuery,
) -> Result<Vec<Explanation>, ExplainError> {
    let (sources, destinations) = (End::resolve(survey, judge, from)?, End::resolve(survey, judge, to)?);
    let mut answers: Vec<Explanation> = Vec::new();
    for source in &sources {
        for destination in &destinations {
            if source.address.is_ipv4() != destination.address.is_ipv4() {
                continue;
            }
            let (protocol, number) = port.resolve(judge.cluster(), destination)?;
            let case = Case { survey, from: source, to: destination, protocol, port: number };
            let mut answer = one(&case, judge)?;
            if let PortQuery::Name(_, name) = port {
                let protocol = words::protocol(protocol);
                answer
                    .notes
                    .insert(0, format!("{name} is port {number}/{protocol} of {}", destination.title()));
            }
            if !answers.iter().any(|other| other.says_the_same(&answer)) {
                answers.push(answer);
            }
        }
    }
    if answers.is_empty() {
        let (from, to) = (from.to_string(), to.to_string());
        return Err(EndError::NoCommonFamily { from, to }.into());
    }
    Ok(answers)
}

impl Explanation {
    fn says_the_same(&self, other: &Self) -> bool {
        (self.from.name.is_some() && self.to.name.is_some())
            && (&self.from.name, &self.to.name) == (&other.from.name, &other.to.name)
            && (&self.egress, &self.ingress) == (&other.egress, &other.ingress)
    }
}

fn one(case: &Case<'_>, judge: &Judge) -> Result<Explanation, CompileError> {
    let ask = Ask { from: case.from.address, to: case.to.address, protocol: case.protocol, port: case.port };
    let verdict = judge.verdict(ask)?;
    let (egress, ingress) = (side(case, &verdict.egress, true), side(case, &verdict.ingress, false));
    let denied = [(&egress, true), (&ingress, false)].into_iter().filter(|(side, _)| !side.allowed);
    let remedies = denied.filter_map(|(_, egress)| remedy::remedy(case, egress)).collect();
    let has_ports = [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP].contains(&case.protocol);
    Ok(Explanation {
        from: case.from.clone(),
        to: case.to.clone(),
        protocol: words::protocol(case.protocol),
        port: has_ports.then_some(case.port),
        allowed: verdict.allows(),
        egress,
        ingress,
        remedies,
        notes: notes(case),
    })
}

fn side(case: &Case<'_>, said: &Said, egress: bool) -> Side {
    let (because, rule) = match said {
        Said::NoPod => (Because::NoPod, None),
        Said::NotIsolated => (Because::NotIsolated, None),
        Said::OwnNode => (Because::OwnNode, None),
        Said::Itself => (Because::Itself, None),
        Said::Denied => (Because::NoRule, None),
        Said::Rule { policy, index } => (Because::Rule, rule_name(case, policy, *index, egress)),
    };
    let asks_policies = matches!(because, Because::Rule | Because::NoRule);
    let policies = if asks_policies { why::policies(case, egress) } else { Vec::new() };
    Side { allowed: said.allows(), because, rule, policies }
}

fn rule_name(case: &Case<'_>, key: &ObjectKey, index: usize, egress: bool) -> Option<RuleName> {
    let rule = case.survey.cluster.policies().get(key)?.rules(egress)?.get(index)?;
    let field = format!("{}[{index}]", if egress { "egress" } else { "ingress" });
    let whom = words::peers(&rule.peers, &key.namespace);
    let way = if egress { "to" } else { "from" };
    Some(RuleName {
        policy: key.to_string(),
        words: format!("{way} {whom}; {}", ports_in_words(case, &rule.ports)),
        spot: case.survey.policy_spot(key, &format!("spec.{field}")),
        rule: field,
    })
}

/// `8080/TCP, http/TCP (port 8080 of shop/api)`.
fn ports_in_words(case: &Case<'_>, ports: &Ports) -> String {
    let Ports::AnyOf(items) = ports else { return words::ports(ports) };
    let items = items.iter().map(|spec| format!("{}{}", words::port(spec), why::named(case, spec)));
    items.collect::<Vec<_>>().join(", ")
}

fn notes(case: &Case<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for end in [case.from, case.to] {
        if let (Some(workload), Some(pod)) = (&end.one_of, &end.name) {
            let (name, count) = (&workload.name, workload.pods);
            notes.push(match count {
                1 => format!("{pod} is the pod of {name}"),
                _ => format!("{pod} is the first of the {count} pods of {name}"),
            });
        }
        if let Some(node) = &end.on_host_of {
            let pod = end.asked.as_deref().unwrap_or("the pod");
            notes.push(format!(
                "{pod} uses the network of its node {node}: policy sees the node, and never the pod"
            ));
        }
    }
    let declared = case.to.pod(&case.survey.cluster).filter(|pod| !pod.ports.is_empty());
    if let Some(pod) = declared
        && let Some(protocol) = port::policy_protocol(case.protocol)
        && !pod.ports.iter().any(|port| port.protocol == protocol && port.port == case.port)
    {
        let key = &pod.key;
        notes.push(format!(
            "{key} does not declare port {}/{protocol}; it declares {}",
            case.port,
            port::declared(pod)
        ));
    }
    if let Some(leads) = case.service_port() {
        notes.push(match case.survey.services {
            Some(ServiceMode::Off) => format!("{leads}: rules about the pod are about its own port"),
            _ => format!("{leads}: rules are about the pod's port, and never about the Service's"),
        });
    }
    notes
}
