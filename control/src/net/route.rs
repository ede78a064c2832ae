//! Routes, neighbours, and the rules that look at marks.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podgate_dataplane::mac::Mac;

use super::address::family;
use super::{NetError, Netlink};

/// A route in the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// The device to send from.
    pub index: u32,
    /// The router; none if the destination is on the link.
    pub via: Option<IpAddr>,
    /// The address this end uses, if it is not to be chosen by the kernel.
    pub source: Option<IpAddr>,
}

/// An entry of the ARP or ND cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The device it was learned on.
    pub index: u32,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address, if known.
    pub mac: Option<Mac>,
    /// How sure the kernel is of it.
    pub state: NeighbourState,
}

/// A routing rule that matches on a packet's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRule {
    /// Whether it is for IPv4 or IPv6.
    pub family: AddressFamily,
    /// Its place among the rules; lower first.
    pub priority: u32,
    /// The mark it wants, under the mask.
    pub mark: u32,
    /// The bits of the mark it looks at.
    pub mask: u32,
    /// The table it leads to.
    pub table: u32,
}

impl Netlink {
    /// Adds a route.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.destination.addr());
        message.header.destination_prefix_length = route.destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        if route.via.is_none() && route.destination.addr().is_ipv4() {
            message.header.scope = RouteScope::Link;
        }
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Oif(route.index));
        if route.destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(RouteAddress::from(route.destination.network())));
        }
        attributes.extend(route.via.map(|router| RouteAttribute::Gateway(router.into())));
        attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
        let added = self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL).await;
        added.map_err(|refusal| {
            let via = route.via.map(|router| format!(" via {router}")).unwrap_or_default();
            let operation = format!("add a route to {}{via}", route.destination);
            self.refused(format!("#{}", route.index), operation, refusal)
        })
    }

    /// All neighbours the namespace knows, in both families.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, NetError> {
        let replies = self.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await;
        let replies = replies.map_err(|refusal| self.refused("all", "list neighbours", refusal))?;
        Ok(replies.into_iter().filter_map(as_neighbour).collect())
    }

    /// The rules that look at a packet's mark; another's mark must not be overwritten.
    pub async fn mark_rules(&self) -> Result<Vec<MarkRule>, NetError> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let replies = self.dump(RouteNetlinkMessage::GetRule(message)).await;
            let replies = replies.map_err(|refusal| self.refused("all", "list routing rules", refusal))?;
            rules.extend(replies.into_iter().filter_map(as_mark_rule));
        }
        Ok(rules)
    }
}

fn as_neighbour(message: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(found.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => address = Some(found.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes).ok().map(Mac),
            _ => {}
        }
    }
    Some(Neighbour { index: message.header.ifindex, address: address?, mac, state: message.header.state })
}

fn as_mark_rule(message: RouteNetlinkMessage) -> Option<MarkRule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let mut rule = MarkRule {
        family: message.header.family,
        priority: 0,
        mark: 0,
        mask: 0,
        table: message.header.table.into(),
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::FwMark(mark) => rule.mark = *mark,
            RuleAttribute::FwMask(mask) => rule.mask = *mask,
            RuleAttribute::Table(table) => rule.table = *table,
            _ => {}
        }
    }
    // The kernel reports a mask with every rule that has a mark, and a mark with every mask but 0.
    (rule.mask != 0).then_some(rule)
}
