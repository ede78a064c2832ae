//! The trunk: two veth pairs (a normal and a heavy lane) between the host, where frames are lifted
//! and delivered, and a private network namespace, where the workers' sockets are. Whoever could
//! write to the gateway side could deliver unfiltered frames, and pods on the host network can.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use podgate_dataplane::steer::Lane;

use super::Paths;
use crate::net::{AdminState, Ethtool, Link, NetError, Netlink, Netns, Switch, VethEnd, offload};

/// Largest packet the trunk carries, in bytes without the Ethernet header: veth takes an XDP
/// program without fragments only if a frame fits in a page beside its headroom and the skb's
/// shared part (drivers/net/veth.c, `veth_xdp_set`), and the tag needs 4 bytes.
pub const TRUNK_MTU: u32 = 3498;

/// Frames each queue's pfifo holds. With a queue discipline on both ends a full veth ring pushes
/// back instead of dropping (drivers/net/veth.c, `veth_xmit`).
const PFIFO_FRAMES: u32 = 1000;

/// The trunk of an instance, up and running.
#[derive(Debug)]
pub struct Trunk {
    /// The namespace of the gateway side.
    pub netns: Netns,
    /// The kernel side, by lane.
    pub trunk0: [Link; 2],
    /// Names of the gateway side, by lane.
    pub trunk1: [String; 2],
}

/// Names of a lane's ends. Short, because device names have at most 15 bytes, and the same for
/// every gateway of this instance, so that a restart finds them.
pub(super) fn names(instance: &str, lane: Lane) -> [String; 2] {
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    let lane = match lane {
        Lane::Normal => 'n',
        Lane::Heavy => 'h',
    };
    let short = hasher.finish() as u32;
    [format!("pg{short:08x}{lane}0"), format!("pg{short:08x}{lane}1")]
}

impl Trunk {
    /// The trunk a former gateway left, if it is whole and has that many queues; otherwise a new
    /// one. Without error both ends are up.
    pub async fn ensure(
        paths: &Paths,
        instance: &str,
        netlink: &Netlink,
        queues: NonZeroU32,
    ) -> Result<Self, NetError> {
        if let Some(trunk) = Self::adopt(paths, instance, netlink, queues).await? {
            return Ok(trunk);
        }
        Self::destroy(paths, instance, netlink).await?;
        let built = Self::build(paths, instance, netlink, queues).await;
        if built.is_err() {
            // The first error is the one to tell.
            let _ = Self::destroy(paths, instance, netlink).await;
        }
        built
    }

    async fn adopt(
        paths: &Paths,
        instance: &str,
        netlink: &Netlink,
        queues: NonZeroU32,
    ) -> Result<Option<Self>, NetError> {
        let Ok(netns) = Netns::open_at(&paths.trunk_netns()) else { return Ok(None) };
        // A file on which nothing is mounted opens too, but cannot be entered.
        let Ok(inside) = Netlink::connect_in(&netns) else { return Ok(None) };
        let mut trunk0 = Vec::new();
        for lane in Lane::ALL {
            let [near, far] = names(instance, lane);
            let (Ok(near), Ok(far)) = (netlink.link_named(&near).await, inside.link_named(&far).await) else {
                return Ok(None);
            };
            let whole =
                |link: &Link| link.tx_queues == queues.get() && link.is_running && link.mtu == TRUNK_MTU;
            if !whole(&near) || !whole(&far) {
                return Ok(None);
            }
            trunk0.push(near);
        }
        let [Some(normal), Some(heavy)] = [trunk0.first().cloned(), trunk0.get(1).cloned()] else {
            return Ok(None);
        };
        Ok(Some(Self { netns, trunk0: [normal, heavy], trunk1: trunk1_names(instance) }))
    }

    async fn build(
        paths: &Paths,
        instance: &str,
        netlink: &Netlink,
        queues: NonZeroU32,
    ) -> Result<Self, NetError> {
        let netns = Netns::create_at(&paths.trunk_netns())?;
        let inside = Netlink::connect_in(&netns)?;
        let host = Netns::current()?;
        let ethtool = Ethtool::connect().await?;
        let mut trunk0 = Vec::new();
        for lane in Lane::ALL {
            let [near, far] = names(instance, lane);
            let far_end = VethEnd::new(&far).mtu(TRUNK_MTU).in_netns(&netns);
            netlink.create_veth(queues, &VethEnd::new(&near).mtu(TRUNK_MTU), &far_end).await?;
            // No router solicitations and the like of the trunk's own.
            host.disable_ipv6(&near)?;
            netns.disable_ipv6(&far)?;
            // The kernel completes checksums, cuts up large segments and puts the tag into the
            // frame on the way to the workers.
            ethtool.set_features(&near, offload::TX_CHECKSUM, Switch::Off).await?;
            ethtool.set_features(&near, offload::TX_VLAN, Switch::Off).await?;
            for (side, name) in [(netlink, &near), (&inside, &far)] {
                let link = side.link_named(name).await?;
                side.set_pfifo(&link, PFIFO_FRAMES).await?;
                side.set_state(link.index, AdminState::Up).await?;
            }
            trunk0.push(netlink.link_named(&near).await?);
        }
        let heavy = trunk0.remove(1);
        Ok(Self { netns, trunk0: [trunk0.remove(0), heavy], trunk1: trunk1_names(instance) })
    }

    /// Removes whatever there is of the instance's trunk.
    pub async fn destroy(paths: &Paths, instance: &str, netlink: &Netlink) -> Result<(), NetError> {
        for lane in Lane::ALL {
            let [near, _] = names(instance, lane);
            if let Ok(link) = netlink.link_named(&near).await {
                netlink.delete_link(link.index).await?;
            }
        }
        Netns::delete_at(&paths.trunk_netns())
    }
}

fn trunk1_names(instance: &str) -> [String; 2] {
    Lane::ALL.map(|lane| names(instance, lane)[1].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let mut all = Vec::new();
        for instance in ["default", "a-name-that-is-longer-than-any-device"] {
            for lane in Lane::ALL {
                all.extend(names(instance, lane));
            }
        }
        assert!(all.iter().all(|name| name.len() <= 15));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
