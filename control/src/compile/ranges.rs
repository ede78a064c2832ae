//! Allowed ports of one pair: the union of its rules, each port attributed to the first rule that
//! allows it.

use podgate_dataplane::policy::{PortRange, RangeList, RuleId};

use super::identity::PortMap;
use crate::model::{PortMatch, PortSpec, Ports, Protocol};

/// The list for `rules`, in order of precedence for the name of the rule; `named` are the named
/// ports of the destination.
pub(super) fn range_list<'a>(
    rules: impl Iterator<Item = (RuleId, &'a Ports)> + Clone,
    named: &PortMap,
) -> RangeList {
    if let Some((every, _)) = rules.clone().find(|(_, ports)| **ports == Ports::Every) {
        // Nothing is left for the others to allow.
        return RangeList { every: Some(every), ..RangeList::default() };
    }
    let mut unions = [const { Union(Vec::new()) }; Protocol::ALL.len()];
    for (rule, ports) in rules {
        let Ports::AnyOf(specs) = ports else { continue };
        for spec in specs {
            for (first, last) in numbers(spec, named) {
                unions[spec.protocol as usize].add(first, last, rule);
            }
        }
    }
    let [tcp, udp, sctp] = unions.map(|union| union.0.into_boxed_slice());
    RangeList { every: None, tcp, udp, sctp }
}

/// Whether what the list allows depends on the named ports of the destination.
pub(super) fn asks_for_names(ports: &Ports) -> bool {
    match ports {
        Ports::Every => false,
        Ports::AnyOf(specs) => specs.iter().any(|spec| matches!(spec.port, PortMatch::Named(_))),
    }
}

fn numbers(spec: &PortSpec, named: &PortMap) -> Vec<(u16, u16)> {
    match &spec.port {
        PortMatch::Every => vec![(0, u16::MAX)],
        PortMatch::Range { first, last } => vec![(*first, *last)],
        // Name and protocol must agree; several containers may repeat a name (types.go).
        PortMatch::Named(name) => named
            .iter()
            .filter(|(other, protocol, _)| other == name && *protocol == spec.protocol)
            .map(|(_, _, port)| (*port, *port))
            .collect(),
    }
}

/// Disjoint ranges, sorted.
struct Union(Vec<PortRange>);

impl Union {
    /// Adds those of `first..=last` that are not in it.
    fn add(&mut self, first: u16, last: u16, rule: RuleId) {
        let mut added = Vec::new();
        let mut next = u32::from(first);
        for range in self.0.iter().filter(|range| range.last >= first && range.first <= last) {
            if u32::from(range.first) > next {
                added.push(PortRange { first: next as u16, last: range.first - 1, rule });
            }
            next = u32::from(range.last) + 1;
        }
        if next <= u32::from(last) {
            added.push(PortRange { first: next as u16, last, rule });
        }
        if added.is_empty() {
            return;
        }
        self.0.append(&mut added);
        self.0.sort_unstable_by_key(|range| range.first);
        // Neighbours by the same rule are one range, so that equal unions are equal lists.
        self.0.dedup_by(|next, before| {
            let joined = before.rule == next.rule && u32::from(before.last) + 1 == u32::from(next.first);
            if joined {
                before.last = next.last;
            }
            joined
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(protocol: Protocol, port: PortMatch) -> PortSpec {
        PortSpec { protocol, port }
    }

    fn range(first: u16, last: u16) -> PortMatch {
        PortMatch::Range { first, last }
    }

    fn shown(ranges: &[PortRange]) -> Vec<(u16, u16, u32)> {
        ranges.iter().map(|range| (range.first, range.last, range.rule.0)).collect()
    }

    #[test]
    fn each_port_is_the_first_rules_that_allows_it() {
        let first =
            Ports::AnyOf(vec![spec(Protocol::Tcp, range(80, 90)), spec(Protocol::Tcp, range(91, 95))]);
        let second =
            Ports::AnyOf(vec![spec(Protocol::Tcp, range(70, 100)), spec(Protocol::Udp, PortMatch::Every)]);
        let third = Ports::AnyOf(vec![spec(Protocol::Tcp, range(1, 65535))]);
        let rules = [(RuleId(0), &first), (RuleId(1), &second), (RuleId(2), &third)];
        let list = range_list(rules.into_iter(), &PortMap::new());
        assert_eq!(shown(&list.tcp), [(1, 69, 2), (70, 79, 1), (80, 95, 0), (96, 100, 1), (101, 65535, 2)]);
        assert_eq!(shown(&list.udp), [(0, 65535, 1)]);
        assert_eq!(list.every, None);
    }

    #[test]
    fn a_rule_without_ports_swallows_the_rest() {
        let some = Ports::AnyOf(vec![spec(Protocol::Tcp, range(80, 80))]);
        let list = range_list([(RuleId(0), &some), (RuleId(1), &Ports::Every)].into_iter(), &PortMap::new());
        assert_eq!(list, RangeList { every: Some(RuleId(1)), ..RangeList::default() });
    }

    #[test]
    fn names_are_looked_up_with_their_protocol() {
        let ports = Ports::AnyOf(vec![spec(Protocol::Tcp, PortMatch::Named("web".to_owned()))]);
        let map = [
            ("dns", Protocol::Tcp, 53),
            ("web", Protocol::Tcp, 80),
            ("web", Protocol::Tcp, 8080),
            ("web", Protocol::Udp, 443),
        ];
        let map = map.map(|(name, protocol, port)| (name.to_owned(), protocol, port)).to_vec();
        let list = range_list([(RuleId(0), &ports)].into_iter(), &map);
        assert_eq!(shown(&list.tcp), [(80, 80, 0), (8080, 8080, 0)]);
        assert!(list.udp.is_empty());
        assert_eq!(range_list([(RuleId(0), &ports)].into_iter(), &PortMap::new()), RangeList::default());
    }
}
