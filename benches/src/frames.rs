//! Frames between two pods of this node, one flow after another.

use std::net::IpAddr;

use podgate_control::compile::Compiled;
use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::{PortId, Tag};
use podgate_flowtable::{Addr, Target};
use podgate_netns_tests::frame::{BROADCAST, Route};
use podgate_netns_tests::gate::tagged;

use crate::cluster::{Site, Size, address, mac, namespace, open_within};

/// Length of the frames without the trunk's tag.
pub const LEN_BYTES: usize = 64;
/// UDP ports on which the two may talk.
pub const OPEN_PORTS: (u16, u16) = (9000, 9099);

/// Pods number 0 and 100 are the first two of the first namespace; both are isolated both ways.
const PODS: [u32; 2] = [0, 100];
/// Source ports that flows use before they go on to the next destination port.
const SOURCE_PORTS: u32 = 50_000;
const FIRST_SOURCE_PORT: u16 = 1024;
const PORTS_AT: usize = 4 + 14 + 20;

/// A UDP datagram of 64 bytes from one pod to the other, as it comes from the trunk.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    bytes: [u8; LEN_BYTES + 4],
    first_port: u16,
}

/// A snapshot of 1,000 policies and 10,000 pods, in which the two pods may talk on [`OPEN_PORTS`].
pub fn snapshot() -> Compiled {
    let mut site = Site::new(Size { namespaces: 100, pods: 10_000, local: 110, policies: 1_000 });
    for app in [0, 1] {
        let mut policy = open_within(&namespace(0), app, OPEN_PORTS);
        policy.key.name = format!("open-within-a{app}");
        site.cluster.put_policy(policy);
    }
    site.compile()
}

impl Datagram {
    /// To one of [`OPEN_PORTS`].
    pub fn allowed() -> Self {
        Self::to(OPEN_PORTS.0)
    }

    /// To a port that no rule names.
    pub fn denied() -> Self {
        Self::to(OPEN_PORTS.1 + 1)
    }

    /// To the first of [`OPEN_PORTS`] of the Service at [`service_address`].
    pub fn to_service() -> Self {
        Self::to_address(service_address().to_ip(), OPEN_PORTS.0)
    }

    fn to(first_port: u16) -> Self {
        Self::to_address(address(PODS[1]).into(), first_port)
    }

    fn to_address(to: IpAddr, first_port: u16) -> Self {
        let [from_mac, to_mac] = ports().map(mac);
        let from = address(PODS[0]).into();
        let route = Route { from_mac, to_mac, from, to };
        let frame = route.udp(0, 0, &[0; LEN_BYTES - 14 - 20 - 8]);
        let bytes = tagged(Tag::from_pod(ports()[0]), &frame);
        Self { bytes: bytes.try_into().expect("64 bytes and the tag"), first_port }
    }

    /// Of flow number `flow`. The step reads no checksums.
    #[inline]
    pub fn of_flow(&self, flow: u32) -> [u8; LEN_BYTES + 4] {
        let mut bytes = self.bytes;
        let source = FIRST_SOURCE_PORT + (flow % SOURCE_PORTS) as u16;
        let destination = self.first_port + (flow / SOURCE_PORTS) as u16;
        bytes[PORTS_AT..PORTS_AT + 2].copy_from_slice(&source.to_be_bytes());
        bytes[PORTS_AT + 2..PORTS_AT + 4].copy_from_slice(&destination.to_be_bytes());
        bytes
    }
}

/// Flows that have a number before destination ports run out.
pub const FLOWS: u32 = SOURCE_PORTS * (OPEN_PORTS.1 - OPEN_PORTS.0) as u32;

/// An address that no pod has.
pub fn service_address() -> Addr {
    Addr::from_v4([10, 96, 0, 10])
}

/// The second pod, and the first of [`OPEN_PORTS`].
pub fn backend() -> Target {
    Target { addr: IpAddr::from(address(PODS[1])).into(), port: OPEN_PORTS.0 }
}

/// Where a forwarded datagram goes.
pub fn receiver() -> Tag {
    Tag::to_pod(ports()[1])
}

/// A question for the second pod's MAC address, to everyone.
pub fn who_has() -> Vec<u8> {
    let [from, to] = PODS.map(address);
    let own: Mac = mac(ports()[0]);
    let ethernet = [&BROADCAST.0[..], &own.0, &[0x08, 0x06]].concat();
    let question = [&[0, 1, 8, 0, 6, 4, 0, 1], &own.0[..], &from.octets(), &[0; 6], &to.octets()].concat();
    tagged(Tag::from_pod(ports()[0]), &[ethernet, question].concat())
}

fn ports() -> [PortId; 2] {
    PODS.map(|pod| PortId::new(pod as u16 + 1).expect("ports begin at 1"))
}
