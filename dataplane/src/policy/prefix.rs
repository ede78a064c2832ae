//! Addresses outside to identities.
//!
//! Longest-prefix match over all `ipBlock` CIDRs and their excepts comes out of the compiler
//! already flattened: disjoint spans of addresses, each with its identity. A lookup is one binary
//! search whatever the nesting.

use std::sync::Arc;

use podgate_flowtable::Addr;

/// Addresses `first..=last` of one family and the identity they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First address.
    pub first: Addr,
    /// Last address, included.
    pub last: Addr,
    /// Identity of every address in it.
    pub identity: u32,
}

/// Two spans cover the same address, or one ends before it starts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("address spans overlap or are reversed at {at}")]
pub struct OverlappingSpans {
    /// The first address of the later span.
    pub at: Addr,
}

/// Spans in address order, shared by its copies. An address in none of them has identity 0 for IPv4,
/// 1 for IPv6.
#[derive(Clone, Debug, Default)]
pub struct PrefixMap {
    // Split, so that the search touches nothing but the keys.
    firsts: Arc<[u128]>,
    rest: Arc<[(u128, u32)]>,
}

impl PrefixMap {
    /// The identity of IPv4 addresses in no span.
    pub const OUTSIDE_V4: u32 = 0;
    /// The identity of IPv6 addresses in no span.
    pub const OUTSIDE_V6: u32 = 1;

    /// From disjoint spans in any order.
    pub fn new(mut spans: Vec<Span>) -> Result<Self, OverlappingSpans> {
        spans.sort_unstable_by_key(|span| span.first);
        let mut previous: Option<Addr> = None;
        for span in &spans {
            if span.last < span.first || previous.is_some_and(|last| span.first <= last) {
                return Err(OverlappingSpans { at: span.first });
            }
            previous = Some(span.last);
        }
        Ok(Self {
            firsts: spans.iter().map(|span| span.first.bits()).collect(),
            rest: spans.iter().map(|span| (span.last.bits(), span.identity)).collect(),
        })
    }

    /// The identity of `addr`.
    #[inline]
    pub fn identity(&self, addr: Addr) -> u32 {
        let after = self.firsts.partition_point(|&first| first <= addr.bits());
        if let Some(&(last, identity)) = after.checked_sub(1).and_then(|at| self.rest.get(at))
            && addr.bits() <= last
        {
            return identity;
        }
        if addr.is_v4() { Self::OUTSIDE_V4 } else { Self::OUTSIDE_V6 }
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.firsts) + size_of_val(&*self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: [u8; 4], last: [u8; 4], identity: u32) -> Span {
        Span { first: Addr::from_v4(first), last: Addr::from_v4(last), identity }
    }

    #[test]
    fn spans_are_found_at_their_ends_and_not_past_them() {
        let map = PrefixMap::new(vec![
            span([10, 0, 2, 0], [10, 0, 2, 255], 9),
            span([10, 0, 0, 0], [10, 0, 0, 255], 7),
        ])
        .unwrap();
        let identity = |octets| map.identity(Addr::from_v4(octets));
        assert_eq!(identity([9, 255, 255, 255]), PrefixMap::OUTSIDE_V4);
        assert_eq!(identity([10, 0, 0, 0]), 7);
        assert_eq!(identity([10, 0, 0, 255]), 7);
        assert_eq!(identity([10, 0, 1, 0]), PrefixMap::OUTSIDE_V4);
        assert_eq!(identity([10, 0, 2, 255]), 9);
        assert_eq!(identity([10, 0, 3, 0]), PrefixMap::OUTSIDE_V4);
        assert_eq!(map.identity(Addr::from_v6([0xfd; 16])), PrefixMap::OUTSIDE_V6);
    }

    #[test]
    fn overlap_is_refused() {
        let overlapping = PrefixMap::new(vec![
            span([10, 0, 0, 0], [10, 0, 0, 9], 7),
            span([10, 0, 0, 9], [10, 0, 0, 10], 8),
        ]);
        assert_eq!(overlapping.unwrap_err().at, Addr::from_v4([10, 0, 0, 9]));
    }
}
