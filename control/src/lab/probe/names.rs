//! A name's addresses, asked for as a program in the pod would ask: by its resolv.conf, each name of the search
//! list in turn, a few times (resolv.conf(5)).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::told::Origin;
use crate::net::Netns;

/// Questions for one name.
const TRIES: usize = 2;

/// What came of looking a name up.
pub(super) enum Resolved {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    /// Nothing came back; the question came from there.
    Silence(Origin),
}

/// What resolv.conf says.
struct Resolver {
    nameserver: IpAddr,
    search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let mut resolver = Self { nameserver: IpAddr::from([127, 0, 0, 1]), search: Vec::new(), ndots: 1 };
        let mut first = true;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if first => {
                    if let Some(address) = words.next().and_then(|word| word.parse().ok()) {
                        (resolver.nameserver, first) = (address, false);
                    }
                }
                Some("search") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        Ok(resolver)
    }

    /// The names to be asked for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let listed = self.search.iter().map(|domain| format!("{name}.{domain}."));
        let itself = format!("{name}.");
        if name.matches('.').count() >= self.ndots {
            [itself].into_iter().chain(listed).collect()
        } else {
            listed.chain([itself]).collect()
        }
    }
}

/// Looks `name` up from within a pod. `source`: the pod's address that questions come from.
pub(super) async fn resolve(
    netns: &Netns,
    resolv_conf: &Path,
    source: impl Fn(bool) -> Option<IpAddr>,
    name: &str,
    patience: Duration,
) -> io::Result<Resolved> {
    let resolver = Resolver::read(resolv_conf)?;
    let own = source(resolver.nameserver.is_ipv4())
        .ok_or_else(|| io::Error::other("the host has no address of the nameserver's family"))?;
    let socket = netns.run(|| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(own, 0))?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(socket)
    });
    let socket = UdpSocket::from_std(socket.map_err(io::Error::other)??)?;
    socket.connect((resolver.nameserver, 53)).await?;
    let origin = ("UDP", own, socket.local_addr()?.port());
    for (number, candidate) in (1_u16..).zip(resolver.candidates(name)) {
        for kind in [RecordType::A, RecordType::AAAA] {
            let id = number * 2 + u16::from(kind == RecordType::AAAA);
            match ask(&socket, id, &candidate, kind, patience).await? {
                None => return Ok(Resolved::Silence(origin)),
                Some(addresses) if addresses.is_empty() => {}
                Some(addresses) => return Ok(Resolved::Addresses(addresses)),
            }
        }
    }
    Ok(Resolved::NoSuchName)
}

/// The addresses under exactly this name; `None` if nothing comes back.
async fn ask(
    socket: &UdpSocket,
    id: u16,
    name: &str,
    kind: RecordType,
    patience: Duration,
) -> io::Result<Option<Vec<IpAddr>>> {
    let name = Name::from_ascii(name).map_err(io::Error::other)?;
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name, kind));
    let question = question.to_vec().map_err(io::Error::other)?;
    let mut answer = [0; 4096];
    for _ in 0..TRIES {
        match socket.send(&question).await {
            // What came back to the question before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            sent => sent?,
        };
        let heard = timeout(patience, async {
            loop {
                let len = socket.recv(&mut answer).await?;
                match Message::from_vec(&answer[..len]) {
                    Ok(message) if message.metadata.id == id => return Ok::<_, io::Error>(message),
                    _ => {}
                }
            }
        });
        let Ok(heard) = heard.await else { continue };
        let message = match heard {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            heard => heard?,
        };
        if message.metadata.response_code != ResponseCode::NoError {
            return Ok(Some(Vec::new()));
        }
        let addresses = message.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::from(address.0)),
            RData::AAAA(address) => Some(IpAddr::from(address.0)),
            _ => None,
        });
        return Ok(Some(addresses.collect()));
    }
    Ok(None)
}
