//! ipBlocks as disjoint spans of addresses: one sweep over all their ends, excepts included.

use ipnet::IpNet;
use podgate_flowtable::Addr;

use super::bits::Bits;
use super::counted::Counted;
use crate::model::IpBlock;

/// Addresses by the set of blocks they are in. A class is a number for such a set, and stays the
/// same for as long as some address has it.
pub(super) struct Blocks {
    spans: Vec<ClassSpan>,
    /// Blocks of each class.
    classes: Counted<Bits>,
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
    /// Its place among the blocks.
    block: usize,
    except: bool,
    begins: bool,
}

impl Blocks {
    /// The class of addresses in no block.
    pub(super) const NONE: u32 = 0;

    pub(super) fn new() -> Self {
        let mut classes = Counted::default();
        let none = classes.acquire(Bits::default());
        debug_assert_eq!(none, Self::NONE);
        Self { spans: Vec::new(), classes }
    }

    /// Replaces all blocks. A class is given up only after the next settling.
    pub(super) fn replace(&mut self, blocks: &Counted<IpBlock>) {
        let blocks: Vec<(usize, &IpBlock)> =
            blocks.iter().map(|(number, block)| (number as usize, block)).collect();
        let old = std::mem::take(&mut self.spans);
        let (mut spans, mut six) = (Vec::new(), Vec::new());
        sweep(&blocks, true, &mut self.classes, &mut spans);
        sweep(&blocks, false, &mut self.classes, &mut six);
        // IPv4 lies inside IPv6 space (`::ffff:0:0/96`), where no IPv6 span may cover it.
        let (first_v4, last_v4) = (Addr::from_v4([0; 4]), Addr::from_v4([255; 4]));
        for span in six {
            let below = ClassSpan { last: span.last.min(Addr::from_bits(first_v4.bits() - 1)), ..span };
            let above = ClassSpan { first: span.first.max(Addr::from_bits(last_v4.bits() + 1)), ..span };
            for part in [below, above].into_iter().filter(|part| part.first <= part.last) {
                self.classes.share(part.class);
                spans.push(part);
            }
            self.classes.release(span.class);
        }
        spans.sort_unstable_by_key(|span| span.first);
        self.spans = spans;
        self.classes.release_all(old.iter().map(|span| span.class));
    }

    /// The class of `address`.
    pub(super) fn class(&self, address: Addr) -> u32 {
        let after = self.spans.partition_point(|span| span.first <= address);
        let span = after.checked_sub(1).map(|at| self.spans[at]);
        span.filter(|span| address <= span.last).map_or(Self::NONE, |span| span.class)
    }

    /// The blocks that addresses of `class` are in.
    pub(super) fn blocks(&self, class: u32) -> &Bits {
        self.classes.value(class)
    }

    /// Every span that is in some block.
    pub(super) fn spans(&self) -> &[ClassSpan] {
        &self.spans
    }

    pub(super) fn settle(&mut self) {
        self.classes.settle();
    }
}

/// Appends the spans of one family, each a user of its class.
fn sweep(blocks: &[(usize, &IpBlock)], is_v4: bool, classes: &mut Counted<Bits>, spans: &mut Vec<ClassSpan>) {
    let mut edges = Vec::new();
    for (number, (_, block)) in blocks.iter().enumerate() {
        let nets = [(block.cidr(), false)].into_iter().chain(block.except().iter().map(|net| (*net, true)));
        for (net, except) in nets.filter(|(net, _)| net.addr().is_ipv4() == is_v4) {
            let (first, last) = bounds(net);
            edges.push(Edge { at: first, block: number, except, begins: true });
            // The end of the address space needs no edge: nothing comes after it.
            edges.extend(last.checked_add(1).map(|at| Edge { at, block: number, except, begins: false }));
        }
    }
    edges.sort_unstable_by_key(|edge| edge.at);
    let mut inside = Bits::default();
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
                inside.insert(blocks[edge.block].0);
            } else {
                inside.remove(blocks[edge.block].0);
            }
        }
        let last = edges.get(at).map_or(end, |next| next.at - 1);
        if here > end || inside.is_empty() {
            continue;
        }
        let class = classes.acquire(inside.clone());
        match spans.last_mut() {
            Some(before) if before.class == class && before.last.bits().checked_add(1) == Some(here) => {
                before.last = Addr::from_bits(last);
                classes.release(class);
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

    fn flat(blocks: &[IpBlock]) -> Blocks {
        let mut numbers = Counted::default();
        for (number, block) in (0..).zip(blocks) {
            assert_eq!(numbers.acquire(block.clone()), number);
        }
        let mut flat = Blocks::new();
        flat.replace(&numbers);
        flat
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
        let flat = flat(&blocks);
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
        let flat = flat(&blocks);
        assert_eq!(flat.spans().len(), 1);
        // And nobody uses a class that no span has.
        assert_eq!(flat.classes.used(), 2);
        assert_eq!(flat.class("11.0.0.0".parse::<IpAddr>().unwrap().into()), Blocks::NONE);
    }
}
