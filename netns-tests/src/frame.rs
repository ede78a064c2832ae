//! Frames that no honest host writes, and a packet socket for all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use etherparse::{Icmpv6Type, PacketBuilder};
use podgate_control::net;
pub use podgate_control::verify::frame::Route;
use podgate_dataplane::mac::Mac;

use crate::Space;

/// A packet socket on one device: whole frames, both ways.
#[derive(Debug)]
pub struct Wire(net::Wire);

impl Wire {
    /// Opens `device` of `space`.
    #[track_caller]
    pub fn open(space: &Space, device: &str) -> Self {
        Self(net::Wire::open(space.netns(), device).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = self.0.send(frame);
        sent.unwrap_or_else(|error| panic!("cannot send a frame of {} bytes: {error}", frame.len()));
    }
}

impl Deref for Wire {
    type Target = net::Wire;

    fn deref(&self) -> &net::Wire {
        &self.0
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Everybody on the link.
pub const BROADCAST: Mac = Mac([0xff; 6]);

/// A neighbour advertisement (RFC 4861, 4.4) that says `target` is at `at`.
#[track_caller]
pub fn advertisement(route: &Route, target: Ipv6Addr, at: Mac) -> Vec<u8> {
    let mut payload = target.octets().to_vec();
    payload.extend([2, 1]);
    payload.extend(at.0);
    icmpv6(route, 136, [0x20, 0, 0, 0], &payload)
}

/// A router advertisement (RFC 4861, 4.2): send everything to me, for half an hour.
#[track_caller]
pub fn router_advertisement(route: &Route) -> Vec<u8> {
    let mut payload = vec![0; 8];
    payload.extend([1, 1]);
    payload.extend(route.from_mac.0);
    icmpv6(route, 134, [64, 0, 0x07, 0x08], &payload)
}

#[track_caller]
fn icmpv6(route: &Route, type_u8: u8, bytes5to8: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (route.from, route.to) else { panic!("IPv6 only") };
    let link = PacketBuilder::ethernet2(route.from_mac.0, route.to_mac.0);
    let kind = Icmpv6Type::Unknown { type_u8, code_u8: 0, bytes5to8 };
    let transport = link.ipv6(from.octets(), to.octets(), 255).icmpv6(kind);
    let mut frame = Vec::new();
    transport.write(&mut frame, payload).expect("a vector takes all");
    frame
}

/// What an ARP packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Who says so.
    pub sender: (Mac, Ipv4Addr),
    /// Of whom, or to whom.
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    /// As a frame.
    pub fn frame(&self, from_mac: Mac, to_mac: Mac) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(to_mac.0);
        frame.extend(from_mac.0);
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4]);
        frame.extend(self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            frame.extend(mac.0);
            frame.extend(address.octets());
        }
        frame
    }
}

/// The frame with a tag of the pod's own put in, outermost.
pub fn tagged(frame: &[u8], ethertype: u16, tci: u16) -> Vec<u8> {
    let mut with = frame[..12].to_vec();
    with.extend(ethertype.to_be_bytes());
    with.extend(tci.to_be_bytes());
    with.extend(&frame[12..]);
    with
}
