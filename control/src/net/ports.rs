//! The pod end of every port of a bridge, and of other veths, found without entering the pod's namespace.
//!
//! The kernel tells a veth's peer by index and namespace number (`IFLA_LINK`, `IFLA_LINK_NETNSID`)
//! and answers for devices and addresses of a numbered namespace (`IFLA_TARGET_NETNSID`,
//! `IFA_TARGET_NETNSID`). The numbers are the asking namespace's own, given out as it asks.

use std::net::IpAddr;

use futures::future::try_join_all;
use podgate_dataplane::mac::Mac;

use super::{Link, LinkKind, NetError, Netlink, Peer};

/// A device that leads to a pod, and what is at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEnd {
    /// The port's index on this side.
    pub host_index: u32,
    /// The port's name on this side.
    pub host_name: String,
    /// The port's own Ethernet address; the pod's is `peer_mac`.
    pub host_mac: Mac,
    /// The pod's device.
    pub peer: Peer,
    /// The pod's Ethernet address.
    pub peer_mac: Mac,
    /// The larger MTU of the two ends, in bytes: what may come or go.
    pub mtu: u32,
    /// The pod's addresses, link-local ones included.
    pub addresses: Vec<IpAddr>,
}

impl Netlink {
    /// The pod ends of a bridge's ports, in the order of their indexes.
    ///
    /// Ports that are not veth are left out, and pods that go while they are looked at.
    pub async fn pod_ends(&self, bridge: u32) -> Result<Vec<PodEnd>, NetError> {
        let mut ports = self.links().await?;
        ports.retain(|port| port.master == Some(bridge) && port.kind == LinkKind::Veth);
        self.pod_ends_of(&ports).await
    }

    /// The pod ends of these devices, likewise.
    pub async fn pod_ends_of(&self, ports: &[Link]) -> Result<Vec<PodEnd>, NetError> {
        let ends = try_join_all(ports.iter().map(|port| self.pod_end(port))).await?;
        let mut ends: Vec<PodEnd> = ends.into_iter().flatten().collect();
        ends.sort_by_key(|end| end.host_index);
        Ok(ends)
    }

    /// The pod end of one port; none if it is not a veth, or its pod has just gone.
    pub async fn pod_end(&self, port: &Link) -> Result<Option<PodEnd>, NetError> {
        let (LinkKind::Veth, Some(peer), Some(host_mac)) = (&port.kind, port.peer, port.mac) else {
            return Ok(None);
        };
        match self.look_at(peer).await {
            Ok((end, addresses)) => Ok(end.mac.map(|peer_mac| PodEnd {
                host_index: port.index,
                host_name: port.name.clone(),
                host_mac,
                peer,
                peer_mac,
                mtu: port.mtu.max(end.mtu),
                addresses,
            })),
            // The namespace's number may go before its devices are seen to be gone.
            Err(error) if error.is_gone() || is_unknown_namespace(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn look_at(&self, peer: Peer) -> Result<(Link, Vec<IpAddr>), NetError> {
        let Peer { index, netns_id } = peer;
        let (end, addresses) = match netns_id {
            Some(id) => (self.link_in(id, index).await?, self.addresses_in(id, index).await?),
            None => (self.link(index).await?, self.addresses().await?),
        };
        let own = addresses.into_iter().filter(|found| found.index == index);
        Ok((end, own.map(|found| found.address.addr()).collect()))
    }
}

fn is_unknown_namespace(error: &NetError) -> bool {
    matches!(error, NetError::Device { source, .. } if source.raw_os_error() == Some(nix::libc::EINVAL))
}
