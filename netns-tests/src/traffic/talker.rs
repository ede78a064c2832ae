//! A UDP socket that says single bytes and tells which it has heard.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use crate::Space;

/// A UDP socket on one port, IPv4 and IPv6.
#[derive(Debug)]
pub struct Talker {
    socket: UdpSocket,
}

impl Talker {
    /// Opens it.
    #[track_caller]
    pub fn open(space: &Space, port: u16) -> Self {
        let socket = space.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
        let socket = socket.unwrap_or_else(|error| panic!("{}: UDP port {port}: {error}", space.name()));
        socket.set_nonblocking(true).expect("a socket");
        Self { socket }
    }

    /// Says `word`; where it cannot be sent, it is not heard.
    pub fn say(&self, word: u8, to: impl Into<IpAddr>, port: u16) {
        let to = match to.into() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let _ = self.socket.send_to(&[word], (to, port));
    }

    /// The words heard since the last time.
    pub fn heard(&self) -> BTreeSet<u8> {
        let mut words = BTreeSet::new();
        let mut buffer = [0; 16];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            words.extend(buffer[..length].first());
        }
        words
    }
}
