//! Can this pod reach that port?

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::Space;

/// How long an answer is waited for where one is not expected: longer than a first retransmission
/// of a SYN would make sense, short enough for many probes.
pub const DENIED_AFTER: Duration = Duration::from_millis(400);
/// How long an answer is waited for where one is expected.
pub const ALLOWED_WITHIN: Duration = Duration::from_secs(5);

/// What became of a connection attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It was taken.
    Connected,
    /// A reset came back: the frames pass, nobody listens.
    Refused,
    /// Nothing came back.
    TimedOut,
    /// The network said no: no route, no neighbour, an ICMP error.
    Unreachable,
}

/// Tries TCP from `space`; waits as long as an allowed connection may take at most.
#[track_caller]
pub fn reach(space: &Space, to: impl Into<IpAddr>, port: u16) -> Reach {
    reach_within(space, to, port, ALLOWED_WITHIN)
}

/// Tries TCP from `space`.
#[track_caller]
pub fn reach_within(space: &Space, to: impl Into<IpAddr>, port: u16, at_most: Duration) -> Reach {
    let to = SocketAddr::new(to.into(), port);
    match space.run(|| TcpStream::connect_timeout(&to, at_most)) {
        Ok(_) => Reach::Connected,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Reach::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Reach::TimedOut,
            _ => Reach::Unreachable,
        },
    }
}

/// Sends a datagram from `space` and waits for the answer.
#[track_caller]
pub fn ask_udp(space: &Space, to: impl Into<IpAddr>, port: u16, at_most: Duration) -> Option<String> {
    let to = SocketAddr::new(to.into(), port);
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = space.run(|| UdpSocket::bind(from)).expect("a UDP socket");
    socket.connect(to).ok()?;
    socket.set_read_timeout(Some(at_most)).expect("a timeout");
    socket.send(b"?").ok()?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Whether a datagram from `space` is answered.
#[track_caller]
pub fn reaches_udp(space: &Space, to: impl Into<IpAddr>, port: u16, at_most: Duration) -> bool {
    ask_udp(space, to, port, at_most).is_some()
}

/// A TCP connection kept open, to see whether it lives.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
    said: u64,
}

impl Conversation {
    /// Connects to a [`super::Server`] and reads its banner.
    #[track_caller]
    pub fn open(space: &Space, to: impl Into<IpAddr>, port: u16) -> Self {
        let to = SocketAddr::new(to.into(), port);
        Self::begin(space, to, space.run(|| TcpStream::connect_timeout(&to, ALLOWED_WITHIN)))
    }

    /// The same from a port of the client's choice, which may have other connections.
    #[track_caller]
    pub fn open_from(space: &Space, own: u16, to: impl Into<IpAddr>, port: u16) -> Self {
        let to = SocketAddr::new(to.into(), port);
        let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let connected = space.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(any, own).into())?;
            socket.connect_timeout(&to.into(), ALLOWED_WITHIN)?;
            Ok(TcpStream::from(socket))
        });
        Self::begin(space, to, connected)
    }

    #[track_caller]
    fn begin(space: &Space, to: SocketAddr, stream: io::Result<TcpStream>) -> Self {
        let mut stream = stream.unwrap_or_else(|error| panic!("{} to {to}: {error}", space.name()));
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(ALLOWED_WITHIN)).expect("a timeout");
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("banner of {to}: {error}"));
        }
        Self { stream, said: 0 }
    }

    /// Says something and waits for the echo. An echo of what was said earlier does not count.
    pub fn exchange(&mut self, at_most: Duration) -> bool {
        self.said += 1;
        let deadline = Instant::now() + at_most;
        let words = self.said.to_be_bytes();
        if self.stream.write_all(&words).is_err() {
            return false;
        }
        let mut heard = [0; 8];
        while u64::from_be_bytes(heard) != self.said {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            if self.stream.read_exact(&mut heard).is_err() {
                return false;
            }
        }
        true
    }
}
