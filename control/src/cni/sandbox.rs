//! The device outside of a container that leads to its interface, as the kernel has it.
//!
//! Which device that is, a result only claims. The kernel knows: a veth names its other end and the
//! namespace that it is in, and both ends have to name each other.

use std::path::Path;

use super::{CniError, Code};
use crate::net::{LinkKind, NetError, Netlink, Netns, Peer};

/// Where a container's interface leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outside {
    /// The index of the device outside.
    pub(super) device: u32,
    /// Its name.
    pub(super) name: String,
    /// The container's interface, as seen from outside.
    pub(super) peer: Peer,
}

/// Finds it. To be called on a tokio runtime, in the namespace that the device is in.
pub(super) async fn outside(netns: &Path, interface: &str) -> Result<Outside, CniError> {
    let netns = Netns::open_at(netns).map_err(|error| gone_or_io(&error))?;
    let inside = Netlink::connect_in(&netns).map_err(|error| gone_or_io(&error))?;
    let end = inside.link_named(interface).await.map_err(|error| gone_or_io(&error))?;
    let peer = match (&end.kind, end.peer) {
        (LinkKind::Veth, Some(peer)) if peer.netns_id.is_some() => peer,
        (kind, _) => {
            let message = format!(
                "{interface} of the container is {}, which podgate cannot guard: use a CNI that gives pods veth \
                 devices (bridge, ptp, Flannel), or take podgate-cni out of this network's plugins",
                told(kind)
            );
            return Err(CniError::new(Code::NoPort, message));
        }
    };
    let host = Netlink::connect().map_err(|error| gone_or_io(&error))?;
    let device = host.link(peer.index).await.map_err(|error| gone_or_io(&error))?;
    // Asked after the device, as it is then that the namespace is given its number.
    let number = host.number_of(&netns).await.map_err(|error| gone_or_io(&error))?;
    let expected = Peer { index: end.index, netns_id: number };
    if number.is_none() || device.peer != Some(expected) {
        let message = format!(
            "{interface} of the container leads to no device in the network namespace that podgate-cni was called in"
        );
        return Err(CniError::new(Code::NoPort, message));
    }
    Ok(Outside { device: device.index, name: device.name, peer: expected })
}

fn told(kind: &LinkKind) -> String {
    match kind {
        LinkKind::Veth => "a veth with no end outside".into(),
        LinkKind::Bridge => "a bridge".into(),
        LinkKind::Loopback => "the loopback device".into(),
        LinkKind::Virtual(name) => format!("of kind {name}"),
        LinkKind::Physical => "a device of the machine".into(),
    }
}

fn gone_or_io(error: &NetError) -> CniError {
    let code = if error.is_gone() { Code::UnknownContainer } else { Code::Io };
    CniError::new(code, error.to_string())
}
