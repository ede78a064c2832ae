//! Devices: veth pairs and bridges are made.

use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use podgate_dataplane::mac::Mac;

use super::links::check_name;
use super::{AdminState, NetError, Netlink, Netns};

/// One end of a veth pair to be made.
#[derive(Debug, Clone)]
pub struct VethEnd {
    name: String,
    state: AdminState,
    mac: Option<Mac>,
    mtu: Option<u32>,
    master: Option<u32>,
    group: Option<u32>,
    netns: Option<Netns>,
}

/// What a bridge is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Its address. A bridge without one takes its lowest port's, and changes it as ports come.
    pub mac: Option<Mac>,
    /// The largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Whether it learns which ports want a multicast group.
    pub multicast_snooping: Snooping,
    /// The device group, for [`Netlink::delete_group`].
    pub group: Option<u32>,
}

/// Whether a bridge listens to group membership and forwards multicast by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snooping {
    /// It listens (the kernel's default).
    #[default]
    On,
    /// It floods multicast.
    Off,
}

impl VethEnd {
    /// An end with that name, down, in the connection's namespace, its address left to the kernel.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: AdminState::Down,
            mac: None,
            mtu: None,
            master: None,
            group: None,
            netns: None,
        }
    }

    /// Switched on from the start.
    pub fn up(mut self) -> Self {
        self.state = AdminState::Up;
        self
    }

    /// With that Ethernet address.
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// With that MTU, in bytes.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// As a port of the bridge with that index. Of the first end of a pair only.
    pub fn master(mut self, bridge: u32) -> Self {
        self.master = Some(bridge);
        self
    }

    /// In that device group, for [`Netlink::delete_group`].
    pub fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// In another namespace.
    pub fn in_netns(mut self, netns: &Netns) -> Self {
        self.netns = Some(netns.clone());
        self
    }

    fn message(&self, queues: NonZeroU32) -> LinkMessage {
        let mut message = LinkMessage::default();
        request_state(&mut message, self.state);
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(self.name.clone()));
        attributes.push(LinkAttribute::NumTxQueues(queues.get()));
        attributes.push(LinkAttribute::NumRxQueues(queues.get()));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.master.map(LinkAttribute::Controller));
        attributes.extend(self.group.map(LinkAttribute::Group));
        attributes.extend(self.netns.as_ref().map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())));
        message
    }
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self { mac: None, mtu: None, multicast_snooping: Snooping::On, group: None }
    }
}

impl Netlink {
    /// Makes a veth pair with that many transmit and receive queues on both ends.
    ///
    /// The number is always given to the kernel: without one it makes an end with a queue per
    /// possible cpu and uses the first only.
    pub async fn create_veth(
        &self,
        queues: NonZeroU32,
        near: &VethEnd,
        far: &VethEnd,
    ) -> Result<(), NetError> {
        check_name(&near.name)?;
        check_name(&far.name)?;
        let mut message = near.message(queues);
        // The far end is made first and cannot be up without the near one (veth_open: ENOTCONN).
        let mut peer = far.message(queues);
        request_state(&mut peer, AdminState::Down);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let operation = format!("create it as a veth pair with {}", far.name);
        self.create(&near.name, operation, message).await?;
        match (far.state, &far.netns) {
            (AdminState::Down, _) => Ok(()),
            (state, None) => self.set_state(self.link_named(&far.name).await?.index, state).await,
            (state, Some(netns)) => {
                let there = Self::connect_in(netns)?;
                there.set_state(there.link_named(&far.name).await?.index, state).await
            }
        }
    }

    /// Makes a bridge that forwards at once (no spanning tree), and switches it on.
    pub async fn create_bridge(&self, name: &str, options: &BridgeOptions) -> Result<(), NetError> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        request_state(&mut message, AdminState::Up);
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(name.into()));
        attributes.extend(options.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(options.mtu.map(LinkAttribute::Mtu));
        attributes.extend(options.group.map(LinkAttribute::Group));
        let mut settings = vec![InfoBridge::StpState(BridgeStpState::Disabled), InfoBridge::ForwardDelay(0)];
        if options.multicast_snooping == Snooping::Off {
            settings.push(InfoBridge::MulticastSnooping(false));
        }
        attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(settings)),
        ]));
        self.create(name, "create it as a bridge".into(), message).await
    }

    async fn create(&self, name: &str, operation: String, message: LinkMessage) -> Result<(), NetError> {
        let created = self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await;
        created.map_err(|refusal| self.refused(name, operation, refusal))
    }
}

/// Asks for a device to be on or off.
pub(super) fn request_state(message: &mut LinkMessage, state: AdminState) {
    message.header.change_mask |= LinkFlags::Up;
    match state {
        AdminState::Up => message.header.flags |= LinkFlags::Up,
        AdminState::Down => message.header.flags.remove(LinkFlags::Up),
    }
}
