//! One attempt, from a socket in the host's namespace.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::choice::{in_order, to_try};
use super::names::{Resolved, resolve};
use super::target::{Host, Target};
use super::told::{Connection, Told, Wanted};
use super::{Attempt, Attempted, Outcome, socket};
use crate::api::{EventRecord, VerdictWord};
use crate::lab::{Lab, LabError};
use crate::model::Protocol;
use crate::net::Netns;

/// What a socket has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Answer,
    Nothing,
    Refusal,
    /// A connection that ended without an answer.
    End,
}

/// Why an attempt came to nothing of that kind.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("cannot {0}: {1}")]
    Io(&'static str, #[source] io::Error),
    #[error("{0}")]
    Family(String),
}

/// Makes an attempt; whatever goes wrong is what became of it.
pub(super) async fn attempt(lab: &Lab, told: &Told, attempt: Attempt, patience: Duration) -> Attempted {
    let mut attempted = Attempted {
        from: attempt.from,
        to: attempt.to.to_string(),
        outcome: Outcome::Failed,
        why: String::new(),
        policies: Vec::new(),
        address: None,
        destination: None,
    };
    if let Err(hindrance) = tried(lab, told, &attempt.to, patience, &mut attempted).await {
        attempted.why = hindrance.to_string();
    }
    attempted
}

async fn tried(
    lab: &Lab,
    told: &Told,
    to: &Target,
    patience: Duration,
    attempted: &mut Attempted,
) -> Result<(), Hindrance> {
    let from = attempted.from.clone();
    let netns = lab.netns(&from)?;
    let own = match from.as_str() {
        "node" => lab.node_addresses().to_vec(),
        _ => lab.host(&from)?.addresses.clone(),
    };
    let addresses = match &to.host {
        Host::Pod(key) => lab.host(&key.to_string())?.addresses.clone(),
        Host::Name(name) => match name.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let files = lab.resolv_conf(&from)?;
                let found = resolve(&netns, &files, &own, name, patience).await;
                match found.map_err(|source| Hindrance::Io("look the name up", source))? {
                    Resolved::Addresses(addresses) => addresses,
                    unresolved => {
                        attempted.unresolved(told, unresolved).await;
                        return Ok(());
                    }
                }
            }
        },
    };
    let pairs = in_order(&own, &addresses);
    let pairs = match (&to.host, to.protocol) {
        // Whoever sends a datagram sends it to one address; a pod is tried at its first.
        (Host::Name(_), Protocol::Tcp | Protocol::Sctp) => to_try(&pairs),
        (Host::Name(_), Protocol::Udp) => pairs.into_iter().take(1).collect(),
        (Host::Pod(_), _) => {
            let first = addresses.iter().find_map(|to| pairs.iter().find(|pair| pair.1 == *to));
            first.copied().into_iter().collect()
        }
    };
    let mut result = None;
    for (own, address) in pairs {
        let ends = (own, SocketAddr::new(address, to.port));
        let tried = match to.protocol {
            Protocol::Udp => by_udp(&netns, ends, patience).await,
            Protocol::Tcp | Protocol::Sctp => by_tcp(&netns, ends, to.path.as_deref(), patience).await,
        };
        let is_answered = matches!(tried, Ok((_, Seen::Answer)));
        if is_answered || result.is_none() {
            result = Some((address, tried));
        }
        if is_answered {
            break;
        }
    }
    let Some((address, tried)) = result else {
        let list = |all: &[IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (theirs, own) = (list(&addresses), list(&own));
        return Err(Hindrance::Family(format!("{from} ({own}) has no address of the family of {theirs}")));
    };
    attempted.address = Some(address);
    let (connection, seen) = tried.map_err(|source| Hindrance::Io("connect", source))?;
    let (outcome, wanted, why) = match seen {
        Seen::Answer => (Outcome::Allowed, Wanted::Forwarded, "it was answered"),
        Seen::Nothing => (Outcome::Dropped, Wanted::Dropped, "nothing came back"),
        // A Service that has nobody refuses too.
        Seen::Refusal => (Outcome::Refused, Wanted::Any, "nobody listens there"),
        Seen::End => (Outcome::Failed, Wanted::Any, "the connection was closed without an answer"),
    };
    attempted.ended(outcome, why, told.of(&connection, wanted).await);
    Ok(())
}

impl Attempted {
    /// What the gateway says of a connection goes before what was seen; of a failure it says too little.
    fn ended(&mut self, outcome: Outcome, why: &str, record: Option<EventRecord>) {
        (self.outcome, self.why) = (outcome, why.to_owned());
        let Some(record) = record else { return };
        if outcome != Outcome::Failed {
            self.why = record.rule.map_or(record.reason, |rule| format!("by {rule}"));
        }
        (self.policies, self.destination) = (record.policies, record.destination);
    }

    async fn unresolved(&mut self, told: &Told, resolved: Resolved) {
        match resolved {
            Resolved::Addresses(_) => {}
            Resolved::NoSuchName(why) => self.ended(Outcome::NoSuchName, &why, None),
            Resolved::Silence(question) => {
                let record = told.of(&question, Wanted::Dropped).await;
                self.ended(Outcome::DnsBlocked, "nothing came back to the question for the name", record);
            }
            Resolved::Failure(why, question) => {
                self.ended(Outcome::DnsFailed, &why, None);
                // A pod that has no such port says nothing of policy; a refusal of the gateway's own has a reason.
                let Some(question) = question else { return };
                let record = told.of(&question, Wanted::Any).await;
                if let Some(record) = record.filter(|record| record.verdict == VerdictWord::Dropped) {
                    self.why = format!("{why} ({})", record.reason);
                }
            }
        }
    }
}

async fn by_tcp(
    netns: &Netns,
    (own, to): (IpAddr, SocketAddr),
    path: Option<&str>,
    patience: Duration,
) -> io::Result<(Connection, Seen)> {
    let (socket, from) = socket::tcp(netns, own)?;
    let connection = Connection::begins("TCP", from, to);
    let answered = async {
        let mut stream = socket.connect(to).await?;
        let Some(path) = path else { return Ok(Seen::Answer) };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        // Its first byte is an answer, whatever it says.
        match stream.read(&mut [0]).await? {
            0 => Ok(Seen::End),
            _ => Ok(Seen::Answer),
        }
    };
    Ok((connection, seen(timeout(patience, answered).await)?))
}

async fn by_udp(
    netns: &Netns,
    (own, to): (IpAddr, SocketAddr),
    patience: Duration,
) -> io::Result<(Connection, Seen)> {
    let (socket, from) = socket::udp(netns, own)?;
    let connection = Connection::begins("UDP", from, to);
    let answered = async {
        socket.connect(to).await?;
        socket.send(b"?").await?;
        socket.recv(&mut [0; 64]).await.map(|_| Seen::Answer)
    };
    Ok((connection, seen(timeout(patience, answered).await)?))
}

fn seen<E>(ended: Result<io::Result<Seen>, E>) -> io::Result<Seen> {
    match ended {
        Err(_) => Ok(Seen::Nothing),
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Seen::Refusal),
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Ok(Seen::Nothing)
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => Ok(Seen::End),
            _ => Err(error),
        },
    }
}
