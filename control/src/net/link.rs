//! What the kernel says of a device.

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use podgate_dataplane::mac::Mac;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number within the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it.
    pub kind: LinkKind,
    /// Its Ethernet address; absent on devices that have none.
    pub mac: Option<Mac>,
    /// The largest packet it sends, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is switched on.
    pub state: AdminState,
    /// Whether it can carry frames now: on, and its peer too.
    pub is_running: bool,
    /// The bridge (or bond) it is a port of.
    pub master: Option<u32>,
    /// The other end of a veth pair, or the device this one is on.
    pub peer: Option<Peer>,
    /// Transmit queues it was made with. A veth made without a number reports one per possible cpu.
    pub tx_queues: u32,
    /// Receive queues it was made with.
    pub rx_queues: u32,
    /// The group it was put in; 0 unless set.
    pub group: u32,
}

/// What kind of device it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a virtual Ethernet pair.
    Veth,
    /// A bridge.
    Bridge,
    /// The loopback device.
    Loopback,
    /// Another virtual device, by the kernel's name for it.
    Virtual(String),
    /// A device with a driver of its own.
    Physical,
}

/// Whether a device is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdminState {
    /// On.
    Up,
    /// Off.
    #[default]
    Down,
}

/// The device at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its index, in its own namespace.
    pub index: u32,
    /// Its namespace, as this namespace numbers others; absent if it is in this one.
    pub netns_id: Option<i32>,
}

impl Link {
    pub(super) fn from_message(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let state = if flags.contains(LinkFlags::Up) { AdminState::Up } else { AdminState::Down };
        let kind = if flags.contains(LinkFlags::Loopback) { LinkKind::Loopback } else { LinkKind::Physical };
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind,
            mac: None,
            mtu: 0,
            state,
            is_running: flags.contains(LinkFlags::LowerUp),
            master: None,
            peer: None,
            tx_queues: 1,
            rx_queues: 1,
            group: 0,
        };
        let (mut lower, mut netns_id) = (None, None);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(master) => link.master = Some(master),
                LinkAttribute::Link(index) => lower = Some(index),
                LinkAttribute::LinkNetNsId(id) => netns_id = Some(id),
                LinkAttribute::NumTxQueues(queues) => link.tx_queues = queues,
                LinkAttribute::NumRxQueues(queues) => link.rx_queues = queues,
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::LinkInfo(parts) => {
                    for part in parts {
                        if let LinkInfo::Kind(kind) = part {
                            link.kind = kind.into();
                        }
                    }
                }
                _ => {}
            }
        }
        link.peer = lower.filter(|&index| index != 0).map(|index| Peer { index, netns_id });
        link
    }
}

impl From<InfoKind> for LinkKind {
    fn from(kind: InfoKind) -> Self {
        match kind {
            InfoKind::Veth => Self::Veth,
            InfoKind::Bridge => Self::Bridge,
            other => Self::Virtual(other.to_string()),
        }
    }
}
