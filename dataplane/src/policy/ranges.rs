//! The ports that one pair of identities allows in one direction.

use podgate_flowtable::IpProtocol;

use super::RuleId;

/// Destination ports `first..=last` and the rule that allows them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port, included.
    pub last: u16,
    /// The rule that allows it.
    pub rule: RuleId,
}

impl PortRange {
    /// The rule of the range that `port` is in; `ranges` are sorted and disjoint.
    #[inline]
    pub(super) fn find(ranges: &[Self], port: u16) -> Option<RuleId> {
        let at = ranges.partition_point(|range| range.last < port);
        ranges.get(at).filter(|range| range.first <= port).map(|range| range.rule)
    }
}

/// Everything allowed for one pair in one direction.
///
/// Ranges are sorted and disjoint. `every` is a rule without ports: it allows every protocol and
/// port, and it is the only thing that allows a protocol without ports (ICMP echo and the rest).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RangeList {
    /// A rule that allows everything.
    pub every: Option<RuleId>,
    /// Allowed TCP ports.
    pub tcp: Box<[PortRange]>,
    /// Allowed UDP ports.
    pub udp: Box<[PortRange]>,
    /// Allowed SCTP ports.
    pub sctp: Box<[PortRange]>,
}

impl RangeList {
    /// The rule that allows `port` of `protocol`, if one does.
    #[inline]
    pub fn find(&self, protocol: IpProtocol, port: u16) -> Option<RuleId> {
        if self.every.is_some() {
            return self.every;
        }
        let ranges = match protocol {
            IpProtocol::TCP => &self.tcp,
            IpProtocol::UDP => &self.udp,
            IpProtocol::SCTP => &self.sctp,
            _ => return None,
        };
        PortRange::find(ranges, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16, rule: u32) -> PortRange {
        PortRange { first, last, rule: RuleId(rule) }
    }

    #[test]
    fn finds_bounds_and_nothing_between() {
        let list = RangeList {
            tcp: Box::new([range(0, 0, 1), range(80, 80, 2), range(8000, 9000, 3), range(65535, 65535, 4)]),
            ..RangeList::default()
        };
        let rule = |port| list.find(IpProtocol::TCP, port).map(|rule| rule.0);
        assert_eq!(rule(0), Some(1));
        assert_eq!(rule(1), None);
        assert_eq!(rule(80), Some(2));
        assert_eq!(rule(7999), None);
        assert_eq!(rule(8000), Some(3));
        assert_eq!(rule(9000), Some(3));
        assert_eq!(rule(9001), None);
        assert_eq!(rule(65535), Some(4));
        assert_eq!(list.find(IpProtocol::UDP, 80), None);
        assert_eq!(list.find(IpProtocol::ICMP, 0), None);
    }

    #[test]
    fn only_a_rule_without_ports_allows_other_protocols() {
        let list = RangeList { every: Some(RuleId(7)), ..RangeList::default() };
        for protocol in [IpProtocol::TCP, IpProtocol::SCTP, IpProtocol::ICMP, IpProtocol(47)] {
            assert_eq!(list.find(protocol, 0), Some(RuleId(7)));
        }
    }
}
