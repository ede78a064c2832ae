//! Sockets in a host's namespace.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, UdpSocket};

use crate::net::Netns;

/// A TCP socket that is bound to one of the host's addresses, and where that is.
pub(super) fn tcp(netns: &Netns, own: IpAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = netns.run(|| {
        let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(own, 0))?;
        Ok::<_, io::Error>(socket)
    });
    let socket = socket.map_err(io::Error::other)??;
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddr::new(own, port)))
}

/// A UDP socket that is bound to one of the host's addresses, and where that is.
pub(super) fn udp(netns: &Netns, own: IpAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = netns.run(|| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(own, 0))?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(socket)
    });
    let socket = UdpSocket::from_std(socket.map_err(io::Error::other)??)?;
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddr::new(own, port)))
}
