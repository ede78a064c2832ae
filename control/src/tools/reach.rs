//! The compiled table, asked for every port of a pair at once.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use podgate_dataplane::policy::EndpointKind;
use podgate_flowtable::IpProtocol;
use serde::Serialize;
use serde::ser::SerializeSeq;

use super::explain::ip_protocol;
use super::{Ask, Judge};
use crate::model::{Cluster, Peers, PortMatch, Ports, Protocol, Rule};

/// What of one protocol is allowed: ranges, sorted, with gaps between them.
type Ranges = Vec<(u16, u16)>;

/// What may be opened from one end to another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Reach {
    /// By protocol, in the order of [`Protocol::ALL`].
    ranges: [Ranges; 3],
    /// Protocols without ports, ICMP among them.
    other: bool,
}

/// Asks for whole pairs. What it has asked for it knows.
pub struct Reacher<'a> {
    judge: &'a Judge,
    /// Ports at which a verdict may change, by protocol.
    steps: [Vec<u16>; 3],
    known: RefCell<HashMap<(u32, u32), Rc<Reach>>>,
}

impl<'a> Reacher<'a> {
    /// Asks `judge`.
    pub fn new(judge: &'a Judge) -> Self {
        let steps = Protocol::ALL.map(|protocol| steps(judge.cluster(), protocol));
        Self { judge, steps, known: RefCell::default() }
    }

    /// What may be opened from `from` to `to`.
    pub fn reach(&self, from: IpAddr, to: IpAddr) -> Rc<Reach> {
        let (source, destination) = (self.judge.resolve(from), self.judge.resolve(to));
        let is_node = source.kind == EndpointKind::OtherNode;
        let is_itself = source.id.is_some() && source.id == destination.id;
        if is_node || is_itself {
            // Identities do not tell these cases.
            return Rc::new(self.ask(from, to));
        }
        let pair = (source.identity, destination.identity);
        if let Some(known) = self.known.borrow().get(&pair) {
            return known.clone();
        }
        let reach = Rc::new(self.ask(from, to));
        self.known.borrow_mut().insert(pair, reach.clone());
        reach
    }

    fn ask(&self, from: IpAddr, to: IpAddr) -> Reach {
        let mut reach = Reach::default();
        for protocol in Protocol::ALL {
            let steps = &self.steps[protocol as usize];
            for (at, first) in steps.iter().enumerate() {
                let ask = Ask { from, to, protocol: ip_protocol(protocol), port: *first };
                if self.judge.allows(ask) {
                    let last = steps.get(at + 1).map_or(u16::MAX, |next| next - 1);
                    push(&mut reach.ranges[protocol as usize], *first, last);
                }
            }
        }
        let icmp = if to.is_ipv4() { IpProtocol::ICMP } else { IpProtocol::ICMPV6 };
        reach.other = self.judge.allows(Ask { from, to, protocol: icmp, port: 0 });
        reach
    }
}

impl Reach {
    /// Every port and protocol.
    pub fn everything() -> Self {
        Self { ranges: [(); 3].map(|()| vec![(0, u16::MAX)]), other: true }
    }

    /// One port; any, for a protocol without ports.
    pub fn of(protocol: IpProtocol, port: u16) -> Self {
        let mut reach = Self::default();
        match super::explain::policy_protocol(protocol) {
            Some(known) => reach.ranges[known as usize].push((port, port)),
            None => reach.other = true,
        }
        reach
    }

    /// Whether nothing may be opened.
    pub fn is_empty(&self) -> bool {
        !self.other && self.ranges.iter().all(Vec::is_empty)
    }

    /// Whether a port may be opened.
    pub fn has(&self, protocol: IpProtocol, port: u16) -> bool {
        match super::explain::policy_protocol(protocol) {
            Some(known) => {
                self.ranges[known as usize].iter().any(|(first, last)| (*first..=*last).contains(&port))
            }
            None => self.other,
        }
    }

    /// What is in either.
    pub fn union(&self, more: &Self) -> Self {
        if more.is_empty() || self == more {
            return self.clone();
        }
        self.combine(more, |one, other| one || other)
    }

    /// What is in both.
    pub fn intersection(&self, more: &Self) -> Self {
        if self.is_empty() || self == more {
            return self.clone();
        }
        self.combine(more, |one, other| one && other)
    }

    /// What is here and not there.
    pub fn without(&self, less: &Self) -> Self {
        if less.is_empty() || self.is_empty() {
            return self.clone();
        }
        if self == less {
            return Self::default();
        }
        self.combine(less, |one, other| one && !other)
    }

    /// How much there is to say.
    fn parts(&self) -> usize {
        self.ranges.iter().map(Vec::len).sum::<usize>() + usize::from(self.other)
    }

    fn combine(&self, with: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let combined = |at: usize| combine(&self.ranges[at], &with.ranges[at], keep);
        Self { ranges: [combined(0), combined(1), combined(2)], other: keep(self.other, with.other) }
    }

    /// `80, 443/TCP; 53/UDP`, `every port but 22/TCP`.
    pub fn words(&self) -> String {
        let rest = Self::everything().without(self);
        if rest.is_empty() {
            return "every port".to_owned();
        }
        if rest.parts() < self.parts() {
            return format!("every port but {}", rest.words());
        }
        let mut words = Vec::new();
        for protocol in Protocol::ALL {
            match &self.ranges[protocol as usize][..] {
                [] => {}
                [(0, u16::MAX)] => words.push(format!("every {protocol} port")),
                ranges => words.push(format!("{}/{protocol}", listed(ranges))),
            }
        }
        if self.other {
            words.push("ICMP and others".to_owned());
        }
        if words.is_empty() { "nothing".to_owned() } else { words.join("; ") }
    }
}

/// What all of several allow, and what some of them do; `None` if there is none of them.
pub(super) fn all_and_some(several: impl Iterator<Item = Rc<Reach>>) -> Option<(Rc<Reach>, Rc<Reach>)> {
    let each = several.map(|reach| (reach.clone(), reach));
    each.reduce(|(all, some), (reach, _)| {
        // Most of them are one and the same.
        let all = if Rc::ptr_eq(&all, &reach) { all } else { Rc::new(all.intersection(&reach)) };
        let some = if Rc::ptr_eq(&some, &reach) { some } else { Rc::new(some.union(&reach)) };
        (all, some)
    })
}

/// As a list of ranges: `[{"protocol": "TCP", "first": 80, "last": 80}]`; what has no ports is one
/// item, `{"protocol": "other"}`.
impl Serialize for Reach {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Item<'a> {
            protocol: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            first: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            last: Option<u16>,
        }
        let mut items = serializer.serialize_seq(None)?;
        for protocol in Protocol::ALL {
            for (first, last) in &self.ranges[protocol as usize] {
                let (first, last) = (Some(*first), Some(*last));
                items.serialize_element(&Item { protocol: protocol.name(), first, last })?;
            }
        }
        if self.other {
            items.serialize_element(&Item { protocol: "other", first: None, last: None })?;
        }
        items.end()
    }
}

/// Ports at which a rule begins or ends, and those after a port that a name may stand for.
fn steps(cluster: &Cluster, protocol: Protocol) -> Vec<u16> {
    let mut steps = BTreeSet::from([0]);
    let mut add = |first: u16, last: u16| {
        steps.insert(first);
        steps.extend(last.checked_add(1));
    };
    for rule in rules(cluster) {
        let Ports::AnyOf(specs) = &rule.ports else { continue };
        for spec in specs.iter().filter(|spec| spec.protocol == protocol) {
            if let PortMatch::Range { first, last } = spec.port {
                add(first, last);
            }
        }
    }
    for port in cluster.pods().values().flat_map(|pod| &pod.ports) {
        if port.name.is_some() && port.protocol == protocol {
            add(port.port, port.port);
        }
    }
    steps.into_iter().collect()
}

/// Every rule of every policy.
pub(super) fn rules(cluster: &Cluster) -> impl Iterator<Item = &Rule> {
    cluster.policies().values().flat_map(|policy| policy.ingress.iter().chain(&policy.egress))
}

/// Every ipBlock.
pub(super) fn blocks(cluster: &Cluster) -> impl Iterator<Item = &crate::model::IpBlock> {
    let peers = rules(cluster).flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::AnyOf(items) => items.as_slice(),
    });
    peers.filter_map(|peer| match peer {
        crate::model::Peer::Block(block) => Some(block),
        crate::model::Peer::Pods(_) => None,
    })
}

/// Appends a range that starts after all of `ranges`.
fn push(ranges: &mut Ranges, first: u16, last: u16) {
    match ranges.last_mut() {
        Some((_, before)) if u32::from(*before) + 1 == u32::from(first) => *before = last,
        _ => ranges.push((first, last)),
    }
}

fn combine(one: &Ranges, other: &Ranges, keep: fn(bool, bool) -> bool) -> Ranges {
    let bounds = one.iter().chain(other).flat_map(|(first, last)| [u32::from(*first), u32::from(*last) + 1]);
    let mut steps: Vec<u32> = bounds.chain([0, 1 << 16]).collect();
    steps.sort_unstable();
    steps.dedup();
    let has =
        |ranges: &Ranges, port: u16| ranges.iter().any(|(first, last)| (*first..=*last).contains(&port));
    let mut combined = Ranges::new();
    for pair in steps.windows(2) {
        let (first, last) = (pair[0] as u16, (pair[1] - 1) as u16);
        if keep(has(one, first), has(other, first)) {
            push(&mut combined, first, last);
        }
    }
    combined
}

fn listed(ranges: &[(u16, u16)]) -> String {
    let one = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ranges: &[(u16, u16)]) -> Reach {
        Reach { ranges: [ranges.to_vec(), Vec::new(), Vec::new()], other: false }
    }

    #[test]
    fn sets_of_ports_are_combined_port_by_port() {
        let (one, other) = (tcp(&[(0, 10), (20, 30)]), tcp(&[(5, 25), (65535, 65535)]));
        assert_eq!(one.union(&other), tcp(&[(0, 30), (65535, 65535)]));
        assert_eq!(one.intersection(&other), tcp(&[(5, 10), (20, 25)]));
        assert_eq!(one.without(&other), tcp(&[(0, 4), (26, 30)]));
        assert_eq!(Reach::everything().without(&Reach::everything()), Reach::default());
        let rest = Reach::everything().without(&tcp(&[(80, 80)]));
        assert_eq!(rest.words(), "every port but 80/TCP");
        assert_eq!(one.words(), "0-10, 20-30/TCP");
        assert_eq!(
            Reach::everything().without(&Reach::of(IpProtocol::ICMP, 0)).words(),
            "every port but ICMP and others"
        );
        assert_eq!(Reach::default().words(), "nothing");
        assert!(
            rest.has(IpProtocol::TCP, 81) && !rest.has(IpProtocol::TCP, 80) && rest.has(IpProtocol::ICMP, 0)
        );
    }
}
