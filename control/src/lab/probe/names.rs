//! A name's addresses, asked for as a program in the pod would: by its resolv.conf, each name of the search list in
//! turn, a few times, and by TCP where an answer does not fit a datagram (resolv.conf(5), RFC 7766).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::choice;
use super::question::{Question, Said};
use super::resolver::Resolver;
use super::socket;
use super::told::Connection;
use crate::net::Netns;

/// Where DNS is served.
const PORT: u16 = 53;

/// Datagrams for one question.
const TRIES: usize = 2;

/// What came of looking a name up.
pub(super) enum Resolved {
    /// Of both families, as the server gave them.
    Addresses(Vec<IpAddr>),
    /// Why there is no address under it.
    NoSuchName(String),
    /// The server did not say: why, and the question if it was refused on its way.
    Failure(String, Option<Connection>),
    /// Nothing came back to that question.
    Silence(Connection),
}

/// What came of one question.
enum Heard {
    Said(Said),
    Refusal(Connection),
    Silence(Connection),
}

/// A host that asks a server.
struct Asking<'a> {
    netns: &'a Netns,
    own: IpAddr,
    server: SocketAddr,
    socket: UdpSocket,
    by_udp: Connection,
    patience: Duration,
}

/// Looks `name` up from within a host that has the addresses `own`.
pub(super) async fn resolve(
    netns: &Netns,
    resolv_conf: &Path,
    own: &[IpAddr],
    name: &str,
    patience: Duration,
) -> io::Result<Resolved> {
    let resolver = Resolver::read(resolv_conf)?;
    let server = SocketAddr::new(resolver.nameserver, PORT);
    let own = choice::source(own, server.ip()).ok_or_else(|| {
        io::Error::other(format!("the host has no address of the family of its nameserver {}", server.ip()))
    })?;
    let (socket, from) = socket::udp(netns, own)?;
    socket.connect(server).await?;
    let by_udp = Connection::begins("UDP", from, server);
    let asking = Asking { netns, own, server, socket, by_udp, patience };
    let (mut exists, mut failure) = (false, None);
    for (number, candidate) in (1_u16..).zip(resolver.candidates(name)) {
        let mut addresses = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let id = number * 2 + u16::from(kind == RecordType::AAAA);
            match asking.ask(&Question::new(id, &candidate, kind)?).await? {
                Heard::Silence(connection) => return Ok(Resolved::Silence(connection)),
                Heard::Refusal(connection) => {
                    let why = format!("nobody serves names at {server}");
                    return Ok(Resolved::Failure(why, Some(connection)));
                }
                Heard::Said(Said::Addresses(found)) => {
                    exists = true;
                    addresses.extend(found);
                }
                Heard::Said(Said::NoName) => {}
                // Even by TCP: there is no other way to ask.
                Heard::Said(Said::Truncated) => {
                    failure = Some(format!("{server} says that its answer by TCP was cut short"));
                }
                Heard::Said(Said::Failure(code)) => {
                    failure = Some(format!("{server} answers {code:?} to the question for {candidate}"));
                }
            }
        }
        if !addresses.is_empty() {
            return Ok(Resolved::Addresses(addresses));
        }
    }
    Ok(match failure {
        Some(why) => Resolved::Failure(why, None),
        None if exists => Resolved::NoSuchName(format!("{name} has no address")),
        None => Resolved::NoSuchName(format!("{name} does not exist")),
    })
}

impl Asking<'_> {
    async fn ask(&self, question: &Question) -> io::Result<Heard> {
        match by_kind(self.ask_by_udp(question).await, self.by_udp)? {
            Heard::Said(Said::Truncated) => self.ask_by_tcp(question).await,
            heard => Ok(heard),
        }
    }

    async fn ask_by_udp(&self, question: &Question) -> io::Result<Option<Said>> {
        let mut answer = [0; 4096];
        for _ in 0..TRIES {
            self.socket.send(&question.bytes).await?;
            let heard = timeout(self.patience, async {
                loop {
                    let len = self.socket.recv(&mut answer).await?;
                    if let Some(said) = question.answered_by(&answer[..len]) {
                        return Ok(Some(said));
                    }
                }
            });
            if let Ok(heard) = heard.await {
                return heard;
            }
        }
        Ok(None)
    }

    async fn ask_by_tcp(&self, question: &Question) -> io::Result<Heard> {
        let (socket, from) = socket::tcp(self.netns, self.own)?;
        let connection = Connection::begins("TCP", from, self.server);
        let heard = timeout(self.patience, async {
            let mut stream = socket.connect(self.server).await?;
            // Each message behind its length (RFC 1035, section 4.2.2).
            let len = u16::try_from(question.bytes.len()).map_err(io::Error::other)?;
            stream.write_all(&[&len.to_be_bytes()[..], &question.bytes].concat()).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            let other = || io::Error::other(format!("{} answers another question", self.server));
            question.answered_by(&answer).map(Some).ok_or_else(other)
        });
        by_kind(heard.await.unwrap_or(Ok(None)), connection)
    }
}

fn by_kind(heard: io::Result<Option<Said>>, connection: Connection) -> io::Result<Heard> {
    match heard {
        Ok(Some(said)) => Ok(Heard::Said(said)),
        Ok(None) => Ok(Heard::Silence(connection)),
        // Of a datagram, what came back to the one before.
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Heard::Refusal(connection)),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Ok(Heard::Silence(connection))
            }
            _ => Err(error),
        },
    }
}
