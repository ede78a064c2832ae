//! Addresses of devices.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{NetError, Netlink};

/// An address on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceAddress {
    /// The device's index.
    pub index: u32,
    /// The address, with the length of its prefix.
    pub address: IpNet,
}

impl Netlink {
    /// Gives a device an address, usable at once (no duplicate address detection).
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<(), NetError> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        message.header.flags = AddressHeaderFlags::Nodad;
        if is_link_local(address.addr()) {
            message.header.scope = AddressScope::Link;
        }
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        let added = self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await;
        added.map_err(|refusal| self.refused(format!("#{index}"), format!("add address {address}"), refusal))
    }

    /// Takes an address off a device.
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<(), NetError> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(address.addr()));
        let deleted = self.change(RouteNetlinkMessage::DelAddress(message), 0).await;
        deleted.map_err(|refusal| {
            self.refused(format!("#{index}"), format!("delete address {address}"), refusal)
        })
    }

    /// All addresses of the namespace, in both families.
    pub async fn addresses(&self) -> Result<Vec<DeviceAddress>, NetError> {
        self.dump_addresses(AddressMessage::default(), "all".into()).await
    }

    /// The addresses of one device of another namespace, as this namespace numbers it.
    pub async fn addresses_in(&self, netns_id: i32, index: u32) -> Result<Vec<DeviceAddress>, NetError> {
        let mut found = Vec::new();
        // Namespace and device are filters of each family's own dump (inet_dump_addr, inet6_dump_addr).
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.index = index;
            message.attributes.push(AddressAttribute::TargetNetNsId(netns_id));
            let device = format!("#{index} of namespace {netns_id}");
            found.extend(self.dump_addresses(message, device).await?);
        }
        Ok(found)
    }

    /// The addresses by which the namespace can be reached from outside: all but loopback's.
    pub async fn host_addresses(&self) -> Result<Vec<IpAddr>, NetError> {
        let addresses = self.addresses().await?.into_iter().map(|found| found.address.addr());
        Ok(addresses.filter(|address| !address.is_loopback()).collect())
    }

    async fn dump_addresses(
        &self,
        message: AddressMessage,
        device: String,
    ) -> Result<Vec<DeviceAddress>, NetError> {
        let replies = self.dump(RouteNetlinkMessage::GetAddress(message)).await;
        let replies = replies.map_err(|refusal| self.refused(device, "list its addresses", refusal))?;
        Ok(replies.into_iter().filter_map(|reply| as_address(&reply)).collect())
    }
}

pub(super) fn as_address(message: &RouteNetlinkMessage) -> Option<DeviceAddress> {
    let (RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message)) = message
    else {
        return None;
    };
    // IFA_LOCAL is the device's own; on point-to-point devices IFA_ADDRESS is the other end's.
    let (mut local, mut either) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => either = Some(*address),
            _ => {}
        }
    }
    let address = IpNet::new(local.or(either)?, message.header.prefix_len).ok()?;
    Some(DeviceAddress { index: message.header.index, address })
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
