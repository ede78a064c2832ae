//! All lists of allowed ports, in two arrays: what a list is, and the ranges of all of them one after
//! another. A lookup reads one line of each.

use std::sync::Arc;

use podgate_flowtable::IpProtocol;

use super::{PortRange, RangeList, RuleId};

/// Index of a [`RangeList`] in its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ListId(pub u32);

/// Where the ranges of a list begin; TCP ends where UDP begins and SCTP where the next list does.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The rule that allows everything, or [`NO_RULE`].
    every: u32,
    tcp: u32,
    udp: u32,
    sctp: u32,
}

const _: () = assert!(size_of::<Head>() == 16, "four to a cache line");

const NO_RULE: u32 = u32::MAX;

/// Lists by [`ListId`]; copies share them.
#[derive(Clone, Debug)]
pub struct RangeLists {
    /// One more than there are lists: the last one ends somewhere, too.
    heads: Arc<[Head]>,
    ranges: Arc<[PortRange]>,
}

impl RangeLists {
    /// Packs these; each gets its place as number.
    pub fn new<'a>(lists: impl IntoIterator<Item = &'a RangeList>) -> Self {
        let (mut heads, mut ranges) = (Vec::new(), Vec::new());
        for list in lists {
            let tcp = ranges.len() as u32;
            ranges.extend_from_slice(&list.tcp);
            let udp = ranges.len() as u32;
            ranges.extend_from_slice(&list.udp);
            let sctp = ranges.len() as u32;
            ranges.extend_from_slice(&list.sctp);
            heads.push(Head { every: list.every.map_or(NO_RULE, |rule| rule.0), tcp, udp, sctp });
        }
        let end = ranges.len() as u32;
        heads.push(Head { every: NO_RULE, tcp: end, udp: end, sctp: end });
        Self { heads: heads.into(), ranges: ranges.into() }
    }

    /// The rule of a list that allows `port` of `protocol`, if one does. A list that is not there
    /// allows nothing.
    #[inline]
    pub fn find(&self, list: ListId, protocol: IpProtocol, port: u16) -> Option<RuleId> {
        let head = self.heads.get(list.0 as usize)?;
        if head.every != NO_RULE {
            return Some(RuleId(head.every));
        }
        let (first, end) = match protocol {
            IpProtocol::TCP => (head.tcp, head.udp),
            IpProtocol::UDP => (head.udp, head.sctp),
            IpProtocol::SCTP => (head.sctp, self.heads.get(list.0 as usize + 1)?.tcp),
            _ => return None,
        };
        PortRange::find(self.ranges.get(first as usize..end as usize)?, port)
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.heads.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ranges of all lists together.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.heads) + size_of_val(&*self.ranges)
    }
}

impl Default for RangeLists {
    fn default() -> Self {
        Self::new([])
    }
}

impl From<Vec<RangeList>> for RangeLists {
    fn from(lists: Vec<RangeList>) -> Self {
        Self::new(&lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_list_says_what_the_list_says() {
        let range = |first, last, rule| PortRange { first, last, rule: RuleId(rule) };
        let lists = [
            RangeList::default(),
            RangeList {
                tcp: Box::new([range(0, 0, 1), range(80, 90, 2)]),
                sctp: Box::new([range(80, 80, 3)]),
                ..RangeList::default()
            },
            RangeList { every: Some(RuleId(4)), ..RangeList::default() },
            RangeList { udp: Box::new([range(53, 53, 5), range(65535, 65535, 6)]), ..RangeList::default() },
        ];
        let packed = RangeLists::new(&lists);
        assert_eq!((packed.len(), packed.ranges()), (4, 5));
        for protocol in [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP, IpProtocol::ICMP] {
            for port in [0, 1, 53, 79, 80, 85, 90, 91, 65535] {
                for (number, list) in (0..).zip(&lists) {
                    let found = packed.find(ListId(number), protocol, port);
                    assert_eq!(found, list.find(protocol, port), "{number} {protocol:?} {port}");
                }
                assert_eq!(packed.find(ListId(4), protocol, port), None);
                assert_eq!(packed.find(ListId(5), protocol, port), None);
            }
        }
    }
}
