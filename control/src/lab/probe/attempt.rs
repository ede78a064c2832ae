//! One attempt, from a socket in the host's namespace.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::names::{Resolved, resolve};
use super::target::{Host, Target};
use super::told::{Origin, Told};
use super::{Attempt, Attempted, Outcome};
use crate::api::{EventRecord, VerdictWord};
use crate::lab::{Lab, LabError};
use crate::model::Protocol;
use crate::net::Netns;

/// What a socket has seen.
enum Seen {
    Answer,
    Nothing,
    Refusal,
}

pub(super) async fn attempt(
    lab: &Lab,
    told: &Told,
    attempt: Attempt,
    patience: Duration,
) -> Result<Attempted, LabError> {
    let Attempt { from, to } = attempt;
    let netns = lab.netns(&from)?;
    let own = match from.as_str() {
        "node" => lab.node_addresses().to_vec(),
        _ => lab.host(&from)?.addresses.clone(),
    };
    let source = |is_v4: bool| own.iter().copied().find(|address| address.is_ipv4() == is_v4);
    let failed = |what, source| LabError::Probe { from: from.clone(), to: to.to_string(), what, source };
    let addresses = match &to.host {
        Host::Pod(key) => lab.host(&key.to_string())?.addresses.clone(),
        Host::Name(name) => match name.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let files = lab.resolv_conf(&from)?;
                let found = resolve(&netns, &files, source, name, patience).await;
                match found.map_err(|source| failed("look the name up", source))? {
                    Resolved::Addresses(addresses) => addresses,
                    Resolved::NoSuchName => {
                        let why = format!("{name} does not exist");
                        return Ok(ended(&from, &to, Outcome::NoSuchName, why, None));
                    }
                    Resolved::Silence(origin) => {
                        let record = told.of(origin, VerdictWord::Dropped).await;
                        let why = "nothing came back to the question for the name".to_owned();
                        return Ok(ended(&from, &to, Outcome::DnsBlocked, why, record));
                    }
                }
            }
        },
    };
    let reachable = addresses.into_iter().find_map(|address| Some((source(address.is_ipv4())?, address)));
    let Some((own, address)) = reachable else {
        return Err(failed("find addresses of one family", io::Error::from(ErrorKind::AddrNotAvailable)));
    };
    let ends = (own, SocketAddr::new(address, to.port));
    let tried = match to.protocol {
        Protocol::Udp => by_udp(&netns, ends, patience).await,
        Protocol::Tcp | Protocol::Sctp => by_tcp(&netns, ends, to.path.as_deref(), patience).await,
    };
    let (origin, seen) = tried.map_err(|source| failed("open a socket", source))?;
    let (outcome, verdict, why) = match seen {
        Seen::Answer => (Outcome::Allowed, VerdictWord::Forwarded, "it was answered"),
        Seen::Nothing => (Outcome::Dropped, VerdictWord::Dropped, "nothing came back"),
        Seen::Refusal => (Outcome::Refused, VerdictWord::Forwarded, "nobody listens there"),
    };
    let record = match told.of(origin, verdict).await {
        // A Service that has nobody refuses too.
        None if outcome == Outcome::Refused => told.of(origin, VerdictWord::Dropped).await,
        found => found,
    };
    Ok(ended(&from, &to, outcome, why.to_owned(), record))
}

fn ended(from: &str, to: &Target, outcome: Outcome, why: String, record: Option<EventRecord>) -> Attempted {
    let (from, to) = (from.to_owned(), to.to_string());
    match record {
        None => Attempted { from, to, outcome, why, policies: Vec::new(), destination: None },
        Some(record) => {
            let why = record.rule.map_or(record.reason, |rule| format!("by {rule}"));
            Attempted { from, to, outcome, why, policies: record.policies, destination: record.destination }
        }
    }
}

async fn by_tcp(
    netns: &Netns,
    (own, to): (IpAddr, SocketAddr),
    path: Option<&str>,
    patience: Duration,
) -> io::Result<(Origin, Seen)> {
    let socket = netns.run(|| {
        let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(own, 0))?;
        Ok::<_, io::Error>(socket)
    });
    let socket = socket.map_err(io::Error::other)??;
    let origin = ("TCP", own, socket.local_addr()?.port());
    let answered = async {
        let mut stream = socket.connect(to).await?;
        let Some(path) = path else { return Ok(()) };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        // Its first byte is an answer, whatever it says.
        match stream.read(&mut [0]).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    };
    Ok((origin, seen(timeout(patience, answered).await)?))
}

async fn by_udp(
    netns: &Netns,
    (own, to): (IpAddr, SocketAddr),
    patience: Duration,
) -> io::Result<(Origin, Seen)> {
    let socket = netns.run(|| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(own, 0))?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(socket)
    });
    let socket = UdpSocket::from_std(socket.map_err(io::Error::other)??)?;
    let origin = ("UDP", own, socket.local_addr()?.port());
    let answered = async {
        socket.connect(to).await?;
        socket.send(b"?").await?;
        socket.recv(&mut [0; 64]).await.map(drop)
    };
    Ok((origin, seen(timeout(patience, answered).await)?))
}

fn seen<E>(ended: Result<io::Result<()>, E>) -> io::Result<Seen> {
    match ended {
        Err(_) => Ok(Seen::Nothing),
        Ok(Ok(())) => Ok(Seen::Answer),
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Seen::Refusal),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Ok(Seen::Nothing)
            }
            _ => Err(error),
        },
    }
}
