//! Frames that no honest host writes, and a packet socket for all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use etherparse::{Icmpv6Type, PacketBuilder};
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};
pub use podgate_control::verify::frame::Route;
use podgate_dataplane::mac::Mac;

use crate::Space;

/// A packet socket on one device: whole frames, both ways.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    device: LinkAddr,
}

impl Wire {
    /// Opens `device` of `space`.
    #[track_caller]
    pub fn open(space: &Space, device: &str) -> Self {
        let opened = space.run(|| {
            // nix has no safe way to write a link address; the kernel's own list has what is needed.
            let mut all = getifaddrs()?.filter(|found| found.interface_name == device);
            let address = all.find_map(|found| found.address?.as_link_addr().copied());
            let address = address.ok_or(nix::Error::ENODEV)?;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok::<_, nix::Error>(Self { socket, device: address })
        });
        opened.unwrap_or_else(|errno| panic!("{} of {}: {errno}", device, space.name()))
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.device, MsgFlags::empty());
        sent.unwrap_or_else(|errno| panic!("cannot send a frame of {} bytes: {errno}", frame.len()));
    }

    /// Sends a frame; whether the device took it (a full queue does not).
    pub fn try_send(&self, frame: &[u8]) -> bool {
        sendto(self.socket.as_raw_fd(), frame, &self.device, MsgFlags::MSG_DONTWAIT).is_ok()
    }

    /// Reads a frame into `buffer`, if one is there, and returns its length; what does not fit is cut off.
    pub fn try_read(&self, buffer: &mut [u8]) -> Option<usize> {
        recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).ok()
    }

    /// Reads frames until one is wanted, at most for `at_most`.
    pub fn find<T>(&self, at_most: Duration, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + at_most;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if poll(&mut fds, left).unwrap_or(0) == 0 {
                return None;
            }
            if let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                && let Some(found) = wanted(&buffer[..length])
            {
                return Some(found);
            }
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
