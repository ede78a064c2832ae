//! A packet socket on one device: whole frames, both ways.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use super::{NetError, Netns};

/// Frames longer than this are cut off.
const MAX_LEN_BYTES: usize = 1 << 16;

/// An open packet socket.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    device: LinkAddr,
}

impl Wire {
    /// On `device` of `netns`.
    pub fn open(netns: &Netns, device: &str) -> Result<Self, NetError> {
        let opened = netns.run(|| {
            // nix has no safe way to write a link address; the kernel's own list has what is needed.
            let mut all = getifaddrs()?.filter(|found| found.interface_name == device);
            let address = all.find_map(|found| found.address?.as_link_addr().copied());
            let address = address.ok_or(nix::Error::ENODEV)?;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok::<_, nix::Error>(Self { socket, device: address })
        })?;
        opened.map_err(|errno| NetError::Device {
            device: device.to_owned(),
            namespace: netns.label().to_owned(),
            operation: "open a packet socket".to_owned(),
            source: errno.into(),
            detail: String::new(),
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        sendto(self.socket.as_raw_fd(), frame, &self.device, MsgFlags::empty())?;
        Ok(())
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
        let mut buffer = vec![0; MAX_LEN_BYTES];
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
