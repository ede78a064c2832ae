//! ipBlocks as disjoint spans of addresses: one sweep over all their ends, excepts included.

use ipnet::IpNet;
use podgate_flowtable::Addr;

use super::bits::Bits;
use super::intern::Interner;
use crate::model::IpBlock;

/// Addresses by the set of blocks they are in.
pub(super) struct Blocks {
    spans: Vec<ClassSpan>,
    /// Blocks of each class; class 0 is in none.
    classes: Vec<Bits>,
}

/// A span of addresses of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClassSpan {
    pub(super) first: Addr,
    pub(super) last: Addr,
    pub(super) class: u32,
}

/// A net begins at, or ends before, an address.
struct Edge {
    at: u128,
    block: usize,
    except: bool,
    begins: bool,
}

impl Blocks {
    /// The class of addresses in no block.
    pub(super) const NONE: u32 = 0;

    pub(super) fn new(blocks: &[&IpBlock]) -> Self {
        let mut classes = Interner::default();
        classes.intern(Bits::new(blocks.len()));
        let mut spans = Vec::new();
        sweep(blocks, true, &mut classes, &mut spans);
        let mut six = Vec::new();
        sweep(blocks, false, &mut classes, &mut six);
        // IPv4 lies inside IPv6 space (`::ffff:0:0/96`), where no IPv6 span may cover it.
        let (first_v4, last_v4) = (Addr::from_v4([0; 4]), Addr::from_v4([255; 4]));
        for span in six {
            if span.first < first_v4 {
                spans.push(ClassSpan { last: span.last.min(Addr::from_bits(first_v4.bits() - 1)), ..span });
            }
            if span.last > last_v4 {
                spans.push(ClassSpan { first: span.first.max(Addr::from_bits(last_v4.bits() + 1)), ..span });
            }
        }
        spans.sort_unstable_by_key(|span| span.first);
        Self { spans, classes: classes.into_values() }
    }

    /// The class of `address`.
    pub(super) fn class(&self, address: Addr) -> u32 {
        let after = self.spans.partition_point(|span| span.first <= address);
        let span = after.checked_sub(1).map(|at| self.spans[at]);
        span.filter(|span| address <= span.last).map_or(Self::NONE, |span| span.class)
    }

    /// The blocks that addresses of `class` are in.
    pub(super) fn blocks(&self, class: u32) -> &Bits {
        &self.classes[class as usize]
    }

    /// Every span that is in some block.
    pub(super) fn spans(&self) -> &[ClassSpan] {
        &self.spans
    }
}

/// Appends the spans of one family.
fn sweep(blocks: &[&IpBlock], is_v4: bool, classes: &mut Interner<Bits>, spans: &mut Vec<ClassSpan>) {
    let mut edges = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let nets = [(block.cidr(), false)].into_iter().chain(block.except().iter().map(|net| (*net, true)));
        for (net, except) in nets.filter(|(net, _)| net.addr().is_ipv4() == is_v4) {
            let (first, last) = bounds(net);
            edges.push(Edge { at: first, block: number, except, begins: true });
            // The end of the address space needs no edge: nothing comes after it.
            edges.extend(last.checked_add(1).map(|at| Edge { at, block: number, except, begins: false }));
        }
    }
    edges.sort_unstable_by_key(|edge| edge.at);
    let mut inside = Bits::new(blocks.len());
    let mut depth = vec![(0_u32, 0_u32); blocks.len()];
    let end = if is_v4 { Addr::from_v4([255; 4]).bits() } else { u128::MAX };
    let mut at = 0;
    while at < edges.len() {
        let here = edges[at].at;
        while let Some(edge) = edges.get(at).filter(|edge| edge.at == here) {
            let (covers, excepts) = &mut depth[edge.block];
            let count = if edge.except { excepts } else { covers };
            *count = if edge.begins { *count + 1 } else { count.saturating_sub(1) };
            at += 1;
            if depth[edge.block].0 > 0 && depth[edge.block].1 == 0 {
                inside.insert(edge.block);
            } else {
                inside.remove(edge.block);
            }
        }
        let last = edges.get(at).map_or(end, |next| next.at - 1);
        if here > end || inside.is_empty() {
            continue;
        }
        let class = classes.intern(inside.clone());
        match spans.last_mut() {
            Some(before) if before.class == class && before.last.bits().checked_add(1) == Some(here) => {
                before.last = Addr::from_bits(last);
            }
            _ => spans.push(ClassSpan { first: Addr::from_bits(here), last: Addr::from_bits(last), class }),
        }
    }
}

/// First and last address, as [`Addr`] bits.
fn bounds(net: IpNet) -> (u128, u128) {
    (Addr::from(net.network()).bits(), Addr::from(net.broadcast()).bits())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn block(cidr: &str, except: &[&str]) -> IpBlock {
        let except: Vec<IpNet> = except.iter().map(|net| net.parse().unwrap()).collect();
        IpBlock::new(cidr.parse().unwrap(), &except).unwrap()
    }

    #[test]
    fn every_edge_has_the_class_that_the_blocks_themselves_say() {
        let blocks = [
            block("0.0.0.0/0", &["10.0.0.0/8", "10.1.0.0/16", "255.255.255.255/32"]),
            block("10.0.0.0/16", &["10.0.1.0/24", "10.0.1.128/25", "10.0.255.0/24"]),
            block("10.0.1.0/24", &[]),
            block("::/0", &["::/1", "fd00::/8"]),
            block("fd00::/8", &["fd00::1/128"]),
            block("0.0.0.0/0", &["0.0.0.0/1", "128.0.0.0/1"]),
            block("::/0", &[]),
        ];
        let flat = Blocks::new(&blocks.iter().collect::<Vec<_>>());
        let nets =
            blocks.iter().flat_map(|block| [block.cidr()].into_iter().chain(block.except().iter().copied()));
        let mut probes: Vec<u128> = nets
            .flat_map(|net| {
                let (first, last) = bounds(net);
                [
                    first.wrapping_sub(1),
                    first,
                    first.wrapping_add(1),
                    last.wrapping_sub(1),
                    last,
                    last.wrapping_add(1),
                ]
            })
            .collect();
        probes.extend([
            0,
            u128::MAX,
            0xffff_0000_0000,
            0xffff_ffff_ffff,
            0xfffe_ffff_ffff,
            0x1_0000_0000_0000,
        ]);
        for bits in probes {
            let address = Addr::from_bits(bits);
            let ip: IpAddr = address.to_ip();
            let expected: Vec<usize> = (0..blocks.len()).filter(|at| blocks[*at].contains(ip)).collect();
            let found: Vec<usize> = flat.blocks(flat.class(address)).iter().collect();
            assert_eq!(found, expected, "{ip}");
        }
    }

    #[test]
    fn spans_are_disjoint_and_neighbours_differ() {
        let blocks = [block("10.0.0.0/9", &[]), block("10.0.0.0/8", &["10.128.0.0/9"])];
        let flat = Blocks::new(&blocks.iter().collect::<Vec<_>>());
        assert_eq!(flat.spans().len(), 1);
        assert_eq!(flat.class("11.0.0.0".parse::<IpAddr>().unwrap().into()), Blocks::NONE);
    }
}
