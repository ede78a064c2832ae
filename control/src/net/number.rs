//! The number by which one network namespace knows another.

use std::os::fd::AsRawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::{NetError, Netlink, Netns};

impl Netlink {
    /// The number that `netns` has here, as in [`super::Peer`]; none while it has none. The kernel gives it
    /// one when it first has to tell of a device that leads there.
    pub async fn number_of(&self, netns: &Netns) -> Result<Option<i32>, NetError> {
        let mut message = NsidMessage::default();
        // A descriptor is never negative.
        message.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
        let reply = self.ask(RouteNetlinkMessage::GetNsId(message)).await;
        let reply = reply.map_err(|refusal| self.refused(netns.label(), "ask for its number", refusal))?;
        let RouteNetlinkMessage::NewNsId(reply) = reply else { return Ok(None) };
        let number = reply.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(number) => Some(*number),
            _ => None,
        });
        // -1: none.
        Ok(number.filter(|number| *number >= 0))
    }
}
