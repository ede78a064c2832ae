//! TCP sockets with the options that the standard library does not set.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use podgate_netns_tests::Space;

/// The longest that any of them waits for the other.
pub const SOON: Duration = Duration::from_secs(20);

/// A listening socket.
#[track_caller]
pub fn listen(space: &Space, port: u16) -> TcpListener {
    space.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).expect("a port")
}

/// Connects; both ends.
#[track_caller]
pub fn pair(
    listener: &TcpListener,
    from: &Space,
    to: Ipv4Addr,
    local_port: Option<u16>,
) -> (TcpStream, TcpStream) {
    let port = listener.local_addr().expect("it listens").port();
    let client = connect_from(from, to, port, local_port).expect("a connection");
    let (server, _) = listener.accept().expect("the other end");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.set_write_timeout(Some(SOON)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
    }
    (client, server)
}

/// Connects, from `local_port` if one is given, even if it was used a moment ago.
pub fn connect_from(
    space: &Space,
    to: Ipv4Addr,
    port: u16,
    local_port: Option<u16>,
) -> nix::Result<TcpStream> {
    space.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        if let Some(local_port) = local_port {
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, local_port);
            bind(socket.as_raw_fd(), &SockaddrIn::from(local))?;
        }
        connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to, port)))?;
        Ok(TcpStream::from(socket))
    })
}

/// Ends a connection with a reset, whatever is still unread or unsent.
pub fn abort(stream: TcpStream) {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &at_once).expect("SO_LINGER");
    drop(stream);
}

/// Says something that the other end hears.
#[track_caller]
pub fn say(from: &mut TcpStream, to: &mut TcpStream, words: &[u8]) {
    from.write_all(words).expect("it is sent");
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).expect("it is heard");
    assert!(heard == words);
}

/// Reads to the end; how much there was.
#[track_caller]
pub fn drain(stream: &mut TcpStream) -> u64 {
    std::io::copy(stream, &mut std::io::sink()).expect("it ends")
}
