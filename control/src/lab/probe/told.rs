//! What the gateway tells of the attempts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Client, EventFilter, EventLine, EventRecord, VerdictWord};
use crate::lab::LabError;

/// How long the gateway may take to tell of what has happened.
const TELLS_WITHIN: Duration = Duration::from_secs(2);

/// How much earlier than it happened an event may seem to be: its clock is read once for a batch of frames.
const CLOCK_SLACK: Duration = Duration::from_millis(100);

/// Which connection: TCP or UDP, from where, and to what it was opened (a Service's own address).
type Ends = (&'static str, SocketAddr, SocketAddr);

/// A connection that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    ends: Ends,
    began: SystemTime,
}

/// What is asked of the gateway's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Forwarded,
    Dropped,
    /// Either; a drop has the last word.
    Any,
}

/// Every event since it was made, the latest of each connection and verdict.
#[derive(Debug)]
pub(super) struct Told {
    account: Arc<Mutex<Account>>,
    count: watch::Receiver<u64>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Account(HashMap<Ends, Verdicts>);

#[derive(Debug, Default)]
struct Verdicts {
    forwarded: Option<(SystemTime, EventRecord)>,
    dropped: Option<(SystemTime, EventRecord)>,
}

impl Connection {
    /// One that begins now.
    pub(super) fn begins(protocol: &'static str, from: SocketAddr, to: SocketAddr) -> Self {
        Self { ends: (protocol, from, to), began: SystemTime::now() }
    }
}

impl Account {
    fn note(&mut self, record: EventRecord) {
        let Some(ends) = ends(&record) else { return };
        let Ok(time) = humantime::parse_rfc3339(&record.time) else { return };
        let verdicts = self.0.entry(ends).or_default();
        match record.verdict {
            VerdictWord::Forwarded => verdicts.forwarded = Some((time, record)),
            VerdictWord::Dropped => verdicts.dropped = Some((time, record)),
        }
    }

    fn find(&self, connection: &Connection, wanted: Wanted) -> Option<EventRecord> {
        let verdicts = self.0.get(&connection.ends)?;
        let since = connection.began.checked_sub(CLOCK_SLACK)?;
        let recent = |noted: &Option<(SystemTime, EventRecord)>| {
            noted.as_ref().filter(|(time, _)| *time >= since).map(|(_, record)| record.clone())
        };
        match wanted {
            Wanted::Forwarded => recent(&verdicts.forwarded),
            Wanted::Dropped => recent(&verdicts.dropped),
            Wanted::Any => recent(&verdicts.dropped).or_else(|| recent(&verdicts.forwarded)),
        }
    }
}

impl Told {
    pub(super) async fn follow(client: &Client) -> Result<Self, LabError> {
        let filter = EventFilter { verdict: None, follow: true, last: Some(0), pod: None };
        let mut lines = client.events(&filter).await?;
        let account = Arc::<Mutex<Account>>::default();
        let (told, count) = watch::channel(0);
        let kept = Arc::clone(&account);
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next().await {
                if let EventLine::Event(record) = line {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).note(*record);
                    told.send_modify(|count| *count += 1);
                }
            }
        });
        Ok(Self { account, count, reader })
    }

    /// What is told of a connection; `None` if nothing is in time.
    pub(super) async fn of(&self, connection: &Connection, wanted: Wanted) -> Option<EventRecord> {
        let found = || self.account.lock().unwrap_or_else(PoisonError::into_inner).find(connection, wanted);
        let mut count = self.count.clone();
        let wait = async {
            loop {
                if let Some(record) = found() {
                    return Some(record);
                }
                count.changed().await.ok()?;
            }
        };
        tokio::time::timeout(TELLS_WITHIN, wait).await.ok().flatten()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn ends(record: &EventRecord) -> Option<Ends> {
    let protocol = ["TCP", "UDP"].into_iter().find(|name| record.protocol.as_deref() == Some(name))?;
    let from = SocketAddr::new(record.source_ip.as_deref()?.parse().ok()?, record.source_port);
    let to = match record.called {
        Some(called) => called,
        None => SocketAddr::new(record.destination_ip.as_deref()?.parse().ok()?, record.destination_port),
    };
    Some((protocol, from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn record(time: SystemTime, verdict: VerdictWord, to: &str, called: Option<&str>) -> EventRecord {
        let (destination_ip, destination_port) = to.split_once(':').unwrap();
        EventRecord {
            time: humantime::format_rfc3339_millis(time).to_string(),
            verdict,
            reason: "policy".into(),
            explanation: String::new(),
            source: None,
            source_ip: Some("10.0.0.5".into()),
            source_port: 4000,
            destination: Some(to.into()),
            destination_ip: Some(destination_ip.into()),
            destination_port: destination_port.parse().unwrap(),
            protocol: Some("TCP".into()),
            called: called.map(at),
            service: None,
            policies: Vec::new(),
            policies_left_out: 0,
            rule: None,
            side: None,
            device: None,
            passage: None,
            len_bytes: 60,
            epoch: 1,
        }
    }

    #[test]
    fn a_port_that_is_used_again_is_another_connection() {
        let (now, mut account) = (SystemTime::now(), Account::default());
        let tried = |to: &str| Connection { ends: ("TCP", at("10.0.0.5:4000"), at(to)), began: now };
        account.note(record(now, VerdictWord::Forwarded, "10.0.0.6:80", None));
        account.note(record(now, VerdictWord::Forwarded, "10.0.0.7:80", None));
        account.note(record(now, VerdictWord::Forwarded, "10.0.0.8:8080", Some("10.96.0.1:80")));
        for (to, came_to) in [
            ("10.0.0.6:80", "10.0.0.6:80"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("10.96.0.1:80", "10.0.0.8:8080"),
        ] {
            let found = account.find(&tried(to), Wanted::Forwarded).unwrap();
            assert_eq!(found.destination.as_deref(), Some(came_to));
        }
        assert_eq!(
            account.find(&tried("10.0.0.8:8080"), Wanted::Any),
            None,
            "it was called by another address"
        );
    }

    #[test]
    fn what_was_told_of_an_earlier_attempt_is_not_told_of_this_one() {
        let (now, mut account) = (SystemTime::now(), Account::default());
        let tried = Connection { ends: ("TCP", at("10.0.0.5:4000"), at("10.0.0.6:80")), began: now };
        account.note(record(now - Duration::from_secs(1), VerdictWord::Dropped, "10.0.0.6:80", None));
        assert_eq!(account.find(&tried, Wanted::Any), None);
        account.note(record(now, VerdictWord::Forwarded, "10.0.0.6:80", None));
        assert_eq!(account.find(&tried, Wanted::Dropped), None);
        assert_eq!(account.find(&tried, Wanted::Any).unwrap().verdict, VerdictWord::Forwarded);
        account.note(record(now, VerdictWord::Dropped, "10.0.0.6:80", None));
        assert_eq!(account.find(&tried, Wanted::Any).unwrap().verdict, VerdictWord::Dropped);
        assert_eq!(account.find(&tried, Wanted::Forwarded).unwrap().verdict, VerdictWord::Forwarded);
    }
}
