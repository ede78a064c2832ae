//! The world outside, as far as ipBlocks tell it apart.

use std::collections::HashMap;
use std::net::IpAddr;

use podgate_flowtable::Addr;

use super::reach::blocks;
use super::{Judge, Party};
use crate::model::Cluster;

/// A span of addresses outside, and one of them that is no pod's or node's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Zone {
    pub(super) first: Addr,
    pub(super) last: Addr,
    pub(super) sample: IpAddr,
}

/// The addresses outside, cut wherever an ipBlock of any of `clusters` begins or ends; only of
/// families that some pod has.
pub(super) fn zones(clusters: &[&Cluster], judges: &[&Judge]) -> Vec<Zone> {
    let pods = || clusters.iter().flat_map(|cluster| cluster.pods().values()).flat_map(|pod| &pod.addresses);
    let (v4, v6) = (pods().any(IpAddr::is_ipv4), pods().any(IpAddr::is_ipv6));
    let mut cuts: Vec<u128> = Vec::new();
    for block in clusters.iter().flat_map(|cluster| blocks(cluster)) {
        for net in [block.cidr()].iter().chain(block.except()) {
            cuts.push(Addr::from(net.network()).bits());
            cuts.extend(Addr::from(net.broadcast()).bits().checked_add(1));
        }
    }
    let (first_v4, last_v4) = (Addr::from_v4([0; 4]).bits(), Addr::from_v4([255; 4]).bits());
    cuts.extend([0, first_v4, last_v4 + 1]);
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.iter().skip(1).map(|next| next - 1).chain([u128::MAX]);
    let spans = cuts.iter().copied().zip(ends);
    let of_family = spans.filter(|(first, _)| if (first_v4..=last_v4).contains(first) { v4 } else { v6 });
    of_family.filter_map(|(first, last)| zone(first, last, judges)).collect()
}

fn zone(first: u128, last: u128, judges: &[&Judge]) -> Option<Zone> {
    let mut at = first;
    loop {
        let sample = Addr::from_bits(at).to_ip();
        if judges.iter().all(|judge| judge.name(sample).is_none()) {
            let (first, last) = (Addr::from_bits(first), Addr::from_bits(last));
            return Some(Zone { first, last, sample });
        }
        at = at.checked_add(1).filter(|next| *next <= last)?;
    }
}

/// The addresses outside as parties, one for each distinct set of identities that the tables give.
pub(super) fn parties(judges: &[&Judge]) -> Vec<Party> {
    let clusters: Vec<&Cluster> = judges.iter().map(|judge| judge.cluster()).collect();
    let all = zones(&clusters, judges);
    let mut order: Vec<Vec<u32>> = Vec::new();
    let mut alike: HashMap<Vec<u32>, Vec<Zone>> = HashMap::new();
    for zone in &all {
        let identities: Vec<u32> = judges.iter().map(|judge| judge.resolve(zone.sample).identity).collect();
        let zones = alike.entry(identities.clone()).or_default();
        if zones.is_empty() {
            order.push(identities);
        }
        zones.push(*zone);
    }
    let party = |identities: Vec<u32>| {
        let zones = &alike[&identities];
        let name = name(zones, &all);
        let addresses = zones.iter().map(|zone| vec![zone.sample]).collect();
        Party { name, pods: Vec::new(), addresses, outside: true }
    };
    order.into_iter().map(party).collect()
}

/// `outside`, `outside 10.0.0.0/8`, `outside but 10.0.0.0/8`: what some of `all` zones are called.
pub(super) fn name(some: &[Zone], all: &[Zone]) -> String {
    let of_family = |zones: &[Zone], v4: bool| -> Vec<Zone> {
        zones.iter().copied().filter(|zone| zone.first.is_v4() == v4).collect()
    };
    let has_both = [true, false].iter().all(|v4| !of_family(all, *v4).is_empty());
    if some.len() == all.len() {
        return "outside".to_owned();
    }
    let mut parts = Vec::new();
    for (v4, family) in [(true, " IPv4"), (false, " IPv6")] {
        let (some, all) = (of_family(some, v4), of_family(all, v4));
        if !some.is_empty() {
            parts.push(described(&some, &all, if has_both { family } else { "" }, DEPTH));
        }
    }
    format!("outside{}", parts.join(" and"))
}

/// How often one list of networks is taken out of another in a name.
const DEPTH: usize = 3;

/// ` 10.0.0.0/8 but 10.1.0.0/16`; `whole` is what the whole family is called.
fn described(some: &[Zone], all: &[Zone], whole: &str, depth: usize) -> String {
    const SHOWN: usize = 3;
    let within =
        |zone: &Zone, first: u128, last: u128| first <= zone.first.bits() && zone.last.bits() <= last;
    let (first, last) = cover(some);
    let holes: Vec<Zone> =
        all.iter().copied().filter(|zone| within(zone, first, last) && !some.contains(zone)).collect();
    let nets = nets(some);
    let covers_all = all.iter().all(|zone| within(zone, first, last));
    let base = if covers_all { whole.to_owned() } else { format!(" {}", net(first, last)) };
    if holes.is_empty() {
        base
    } else if nets.len() <= SHOWN {
        format!(" {}", nets.join(", "))
    } else if depth == 0 {
        format!(" {}, {} and {} more", nets[0], nets[1], nets.len() - 2)
    } else {
        let holes = described(&holes, all, whole, depth - 1);
        let holes = holes.trim_start();
        if holes.contains(" but ") { format!("{base} but ({holes})") } else { format!("{base} but {holes}") }
    }
}

/// The smallest network around all of them, as its first and last address.
fn cover(zones: &[Zone]) -> (u128, u128) {
    let first = zones.iter().map(|zone| zone.first.bits()).min().unwrap_or(0);
    let last = zones.iter().map(|zone| zone.last.bits()).max().unwrap_or(u128::MAX);
    let host_bits = 128 - (first ^ last).leading_zeros();
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    (first & mask, first | !mask)
}

fn net(first: u128, last: u128) -> String {
    let host_bits = (first ^ last).count_ones() as u8;
    match Addr::from_bits(first).to_ip() {
        IpAddr::V4(first) => format!("{first}/{}", 32 - host_bits.min(32)),
        IpAddr::V6(first) => format!("{first}/{}", 128 - host_bits),
    }
}

/// As few networks as cover the zones.
fn nets(zones: &[Zone]) -> Vec<String> {
    let (before_v4, after_v4) = (Addr::from_v4([0; 4]).bits() - 1, Addr::from_v4([255; 4]).bits() + 1);
    let mut spans: Vec<(u128, u128)> = Vec::new();
    let (four, six): (Vec<&Zone>, Vec<&Zone>) = zones.iter().partition(|zone| zone.first.is_v4());
    for family in [four, six] {
        let from = spans.len();
        for zone in family {
            let (first, last) = (zone.first.bits(), zone.last.bits());
            match spans[from..].last_mut() {
                Some((_, end)) if *end + 1 == first => *end = last,
                // IPv4 lies inside, and is none of it.
                Some((_, end)) if *end == before_v4 && first == after_v4 => *end = last,
                _ => spans.push((first, last)),
            }
        }
    }
    let subnets = |(first, last): (u128, u128)| -> Vec<String> {
        match (Addr::from_bits(first).to_ip(), Addr::from_bits(last).to_ip()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                ipnet::Ipv4Subnets::new(first, last, 0).map(|net| net.to_string()).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                ipnet::Ipv6Subnets::new(first, last, 0).map(|net| net.to_string()).collect()
            }
            (first, last) => vec![format!("{first}-{last}")],
        }
    };
    spans.into_iter().flat_map(subnets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(net: &str) -> Zone {
        let net: ipnet::IpNet = net.parse().unwrap();
        Zone { first: net.network().into(), last: net.broadcast().into(), sample: net.network() }
    }

    #[test]
    fn zones_are_called_by_the_shorter_list_of_networks() {
        let all =
            ["0.0.0.0/5", "8.0.0.0/7", "10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/4", "32.0.0.0/3"]
                .map(zone);
        let but_ten: Vec<Zone> = all.iter().copied().filter(|zone| *zone != all[2]).collect();
        assert_eq!(name(&all[2..3], &all), "outside 10.0.0.0/8");
        assert_eq!(name(&but_ten, &all), "outside but 10.0.0.0/8");
        assert_eq!(name(&all, &all), "outside");
        let both = [zone("0.0.0.0/0"), zone("::/1"), zone("8000::/1")];
        assert_eq!(name(&both[..1], &both), "outside IPv4");
        assert_eq!(name(&both[1..], &both), "outside IPv6");
        assert_eq!(name(&both[1..2], &both), "outside ::/1");
    }

    #[test]
    fn holes_in_holes_are_told() {
        let block: Vec<Zone> = ["192.168.0.0/19", "192.168.32.0/20", "192.168.48.0/23", "192.168.51.0/24"]
            .into_iter()
            .chain(["192.168.52.0/22", "192.168.56.0/21", "192.168.64.0/18", "192.168.128.0/17"])
            .map(zone)
            .collect();
        let below: Vec<Zone> = ["0.0.0.0/1", "128.0.0.0/2"].map(zone).to_vec();
        let above: Vec<Zone> =
            ["192.0.0.0/9", "192.128.0.0/11", "192.160.0.0/13", "193.0.0.0/8", "224.0.0.0/3"]
                .map(zone)
                .to_vec();
        let rest: Vec<Zone> = [below, vec![zone("192.168.50.0/24")], above].concat();
        let all: Vec<Zone> = [rest.clone(), block.clone()].concat();
        assert_eq!(name(&block, &all), "outside 192.168.0.0/16 but 192.168.50.0/24");
        assert_eq!(name(&rest, &all), "outside but (192.168.0.0/16 but 192.168.50.0/24)");
    }
}
