//! Devices: change, delete, list.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use podgate_dataplane::mac::Mac;

use super::create::request_state;
use super::{AdminState, Link, NetError, Netlink};

impl Netlink {
    /// Switches a device on or off.
    pub async fn set_state(&self, index: u32, state: AdminState) -> Result<(), NetError> {
        let mut message = LinkMessage::default();
        request_state(&mut message, state);
        self.set(index, message, format!("switch it {state:?}")).await
    }

    /// Changes a device's Ethernet address.
    pub async fn set_mac(&self, index: u32, mac: Mac) -> Result<(), NetError> {
        self.set_attribute(index, LinkAttribute::Address(mac.0.to_vec()), format!("set its address to {mac}"))
            .await
    }

    /// Changes a device's MTU, in bytes.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), NetError> {
        self.set_attribute(index, LinkAttribute::Mtu(mtu), format!("set its MTU to {mtu}")).await
    }

    /// Makes a device a port of a bridge, or of none.
    pub async fn set_master(&self, index: u32, bridge: Option<u32>) -> Result<(), NetError> {
        let attribute = LinkAttribute::Controller(bridge.unwrap_or(0));
        self.set_attribute(index, attribute, format!("make #{} its bridge", bridge.unwrap_or(0))).await
    }

    /// Deletes a device, and with a veth its peer.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let deleted = self.change(RouteNetlinkMessage::DelLink(message), 0).await;
        deleted.map_err(|refusal| self.refused(format!("#{index}"), "delete it", refusal))
    }

    /// Deletes all devices of a group at once; far faster than one by one. None there is no error.
    pub async fn delete_group(&self, group: u32) -> Result<(), NetError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        match self.change(RouteNetlinkMessage::DelLink(message), 0).await {
            Err(refusal) if refusal.source.raw_os_error() != Some(nix::libc::ENODEV) => {
                Err(self.refused(format!("group {group}"), "delete it", refusal))
            }
            _ => Ok(()),
        }
    }

    /// The device with that index.
    pub async fn link(&self, index: u32) -> Result<Link, NetError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.ask_link(message, format!("#{index}")).await
    }

    /// The device with that name.
    pub async fn link_named(&self, name: &str) -> Result<Link, NetError> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        self.ask_link(message, name.into()).await
    }

    /// The device with that index in another namespace, as this namespace numbers it.
    pub async fn link_in(&self, netns_id: i32, index: u32) -> Result<Link, NetError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfNetnsId(netns_id));
        self.ask_link(message, format!("#{index} of namespace {netns_id}")).await
    }

    /// All devices of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let replies = self.dump(RouteNetlinkMessage::GetLink(message)).await;
        let replies = replies.map_err(|refusal| self.refused("all", "list devices", refusal))?;
        Ok(replies.into_iter().filter_map(as_link).collect())
    }

    async fn ask_link(&self, mut message: LinkMessage, device: String) -> Result<Link, NetError> {
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let reply = self.ask(RouteNetlinkMessage::GetLink(message)).await;
        let reply = reply.map_err(|refusal| self.refused(device.as_str(), "look it up", refusal))?;
        as_link(reply).ok_or(NetError::NoSuchDevice { device, namespace: self.namespace().into() })
    }

    async fn set_attribute(
        &self,
        index: u32,
        attribute: LinkAttribute,
        operation: String,
    ) -> Result<(), NetError> {
        let mut message = LinkMessage::default();
        message.attributes.push(attribute);
        self.set(index, message, operation).await
    }

    async fn set(&self, index: u32, mut message: LinkMessage, operation: String) -> Result<(), NetError> {
        message.header.index = index;
        let changed = self.change(RouteNetlinkMessage::SetLink(message), 0).await;
        changed.map_err(|refusal| self.refused(format!("#{index}"), operation, refusal))
    }
}

pub(super) fn as_link(message: RouteNetlinkMessage) -> Option<Link> {
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            Some(Link::from_message(link))
        }
        _ => None,
    }
}

/// The kernel's own rule (`dev_valid_name`), told before it is asked.
pub(super) fn check_name(name: &str) -> Result<(), NetError> {
    let problem = match name {
        "" => "it is empty",
        "." | ".." => "it is a directory",
        _ if name.len() > 15 => "it is longer than 15 bytes",
        _ if name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace()) => {
            "it contains a slash, a colon, a space or a zero byte"
        }
        _ => return Ok(()),
    };
    Err(NetError::BadName { name: name.into(), what: "device", problem })
}
