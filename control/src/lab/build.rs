//! Namespaces, bridge, veth pairs, addresses and routes are made.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use futures::stream::{self, StreamExt, TryStreamExt};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use podgate_dataplane::mac::Mac;

use super::addressing::{Gateway, alone};
use super::plan::Plan;
use super::{Attachment, LabError, LabHost, Role};
use crate::net::{AdminState, BridgeOptions, NetError, Netlink, Netns, Route, Snooping, VethEnd};

/// The pods' bridge.
pub(super) const BRIDGE: &str = "cni0";

/// Every device of a lab on the node's side is in this group, to be deleted at once.
pub(super) const GROUP: u32 = 0x7067;

/// How many hosts are made at a time: each holds a few files open.
const AT_A_TIME: usize = 32;

/// The node's address on the links to external hosts.
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The loopback device is the first of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Without duplicate address detection and router discovery: all addresses are known, and a test
/// need not wait for them.
const HOST_SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// The node routes, between its externals and the pods, and tells no pod of a shorter way.
const NODE_SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
];

/// What every host has to know of the lab.
struct Surroundings {
    gateway: Gateway,
    on_link: Vec<IpNet>,
    behind_node: Vec<IpAddr>,
    bridge: u32,
}

/// Makes all of a plan but its responders, and notes indexes and Ethernet addresses in it.
pub(super) async fn build(plan: &mut Plan) -> Result<(), LabError> {
    let netns = make_namespace(&mut plan.node_netns)?;
    netns.write_sysctls(NODE_SYSCTLS)?;
    let node = Netlink::connect_in(&netns)?;
    node.set_state(LOOPBACK, AdminState::Up).await?;
    let surroundings = build_bridge(&node, plan).await?;
    let hosts = plan.hosts.iter_mut().map(|host| build_host(&node, &surroundings, host));
    stream::iter(hosts).buffer_unordered(AT_A_TIME).try_collect::<()>().await
}

async fn build_bridge(node: &Netlink, plan: &Plan) -> Result<Surroundings, LabError> {
    let options = BridgeOptions {
        mac: Some(bridge_mac(plan.gateway)),
        mtu: Some(plan.mtu),
        multicast_snooping: Snooping::Off,
        group: Some(GROUP),
    };
    node.create_bridge(BRIDGE, &options).await?;
    let bridge = node.link_named(BRIDGE).await?.index;
    for address in plan.gateway.addresses().iter().chain(&plan.node_addresses) {
        node.add_address(bridge, alone(*address)).await?;
    }
    let on_link: Vec<IpNet> = plan.on_link().into_iter().collect();
    for destination in &on_link {
        node.add_route(&to_bridge(plan, *destination, bridge)).await?;
    }
    Ok(Surroundings { gateway: plan.gateway, on_link, behind_node: plan.behind_node().collect(), bridge })
}

fn to_bridge(plan: &Plan, destination: IpNet, bridge: u32) -> Route {
    let source = Some(plan.gateway.facing(destination.addr()));
    Route { destination, index: bridge, via: None, source }
}

/// Makes hosts that come to a lab that is up, but for their responders; the others learn which
/// subnets are on the link with them.
pub(super) async fn extend(plan: &Plan, coming: &mut [LabHost]) -> Result<(), LabError> {
    let node = Netlink::connect_in(&Netns::open_at(&plan.node_netns)?)?;
    let bridge = node.link_named(BRIDGE).await?.index;
    let before = plan.on_link();
    let mut whole = plan.clone();
    whole.hosts.extend(coming.iter().cloned());
    let on_link: Vec<IpNet> = whole.on_link().into_iter().collect();
    for destination in on_link.iter().filter(|subnet| !before.contains(subnet)) {
        there_is(node.add_route(&to_bridge(plan, *destination, bridge)).await)?;
        for host in plan.hosts.iter().filter(|host| host.is_bridged()) {
            let inside = Netlink::connect_in(&Netns::open_at(&host.netns)?)?;
            if families(host).any(|own| own.is_ipv4() == destination.addr().is_ipv4()) {
                let index = inside.link_named("eth0").await?.index;
                let route = Route { destination: *destination, index, via: None, source: None };
                there_is(inside.add_route(&route).await)?;
            }
        }
    }
    let behind_node = plan.behind_node().collect();
    let surroundings = Surroundings { gateway: plan.gateway, on_link, behind_node, bridge };
    let hosts = coming.iter_mut().map(|host| build_host(&node, &surroundings, host));
    stream::iter(hosts).buffer_unordered(AT_A_TIME).try_collect::<()>().await
}

/// A route that an earlier change has left is as good.
fn there_is(added: Result<(), NetError>) -> Result<(), NetError> {
    match added {
        Err(error) if error.is_there() => Ok(()),
        other => other,
    }
}

/// One that stays as ports come and go, and differs between labs with different gateways.
fn bridge_mac(gateway: Gateway) -> Mac {
    let [a, b, c, d] = gateway.v4.octets();
    Mac([0x02, 0x70, a, b, c, d])
}

async fn build_host(node: &Netlink, lab: &Surroundings, host: &mut LabHost) -> Result<(), LabError> {
    let netns = make_namespace(&mut host.netns)?;
    let mut near = VethEnd::new(&host.host_device).up().mtu(host.mtu).group(GROUP);
    if host.is_bridged() {
        near = near.master(lab.bridge);
    }
    let far = VethEnd::new("eth0").mtu(host.mtu).in_netns(&netns);
    node.create_veth(NonZeroU32::MIN, &near, &far).await?;

    let inside = Netlink::connect_in(&netns)?;
    inside.set_state(LOOPBACK, AdminState::Up).await?;
    let eth0 = inside.link_named("eth0").await?;
    inside.set_state(eth0.index, AdminState::Up).await?;
    for address in &host.addresses {
        inside.add_address(eth0.index, alone(*address)).await?;
    }
    host.mac = eth0.mac;
    host.host_index = eth0.peer.map_or(0, |peer| peer.index);
    match host.role {
        Role::External(Attachment::Routed) => route_external(node, &inside, eth0.index, lab, host).await,
        Role::Pod | Role::External(Attachment::Bridged) => {
            route_bridged(&inside, eth0.index, lab, host).await
        }
    }
}

/// All on the bridge is on the link; the rest is behind the node.
async fn route_bridged(
    inside: &Netlink,
    index: u32,
    lab: &Surroundings,
    host: &LabHost,
) -> Result<(), LabError> {
    for own in families(host) {
        let like_own = |address: IpAddr| address.is_ipv4() == own.is_ipv4();
        for destination in lab.on_link.iter().filter(|subnet| like_own(subnet.addr())) {
            inside.add_route(&Route { destination: *destination, index, via: None, source: None }).await?;
        }
        let via = Some(lab.gateway.facing(own));
        let behind = lab.behind_node.iter().filter(|address| like_own(**address)).map(|a| alone(*a));
        for destination in behind.chain([anywhere(own)]) {
            inside.add_route(&Route { destination, index, via, source: None }).await?;
        }
    }
    Ok(())
}

async fn route_external(
    node: &Netlink,
    inside: &Netlink,
    index: u32,
    lab: &Surroundings,
    host: &LabHost,
) -> Result<(), LabError> {
    let near = host.host_index;
    for own in families(host) {
        let router = if own.is_ipv4() {
            // The node answers for its bridge's address on this link too.
            let destination = alone(lab.gateway.v4.into());
            inside.add_route(&Route { destination, index, via: None, source: None }).await?;
            lab.gateway.v4.into()
        } else {
            // In IPv6 a router answers only for the link's own addresses.
            let router = IpNet::new_assert(ROUTER_V6.into(), 64);
            node.add_address(near, router).await?;
            router.addr()
        };
        let route = Route { destination: anywhere(own), index, via: Some(router), source: None };
        inside.add_route(&route).await?;
    }
    for address in &host.addresses {
        let source = Some(lab.gateway.facing(*address));
        let route = Route { destination: alone(*address), index: near, via: None, source };
        node.add_route(&route).await?;
    }
    Ok(())
}

/// One address of each family that the host has.
fn families(host: &LabHost) -> impl Iterator<Item = IpAddr> {
    let first = |v4: bool| host.addresses.iter().copied().find(move |address| address.is_ipv4() == v4);
    first(true).into_iter().chain(first(false))
}

fn anywhere(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

fn make_namespace(path: &mut PathBuf) -> Result<Netns, LabError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let netns = Netns::create(&name).inspect_err(|error| {
        if matches!(error, NetError::NamespaceExists { .. }) {
            // Someone else's, made since the plan was: not to be deleted with this lab.
            *path = PathBuf::new();
        }
    })?;
    netns.write_sysctls(HOST_SYSCTLS)?;
    Ok(netns)
}
