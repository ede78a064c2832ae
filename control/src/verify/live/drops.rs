//! What the lab's gateway tells of frames that it drops, for those who wait for a verdict.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::LiveError;
use crate::api::{Client, EventFilter, EventLine, EventRecord, VerdictWord};

/// The first packet of a probe. ICMP has no ports here: `ping` chooses its identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Opening {
    pub(super) protocol: &'static str,
    pub(super) source: (IpAddr, u16),
    pub(super) destination: (IpAddr, u16),
}

type Waiting = Arc<Mutex<HashMap<Opening, oneshot::Sender<EventRecord>>>>;

/// Reads events as they come, until dropped.
#[derive(Debug)]
pub(super) struct Drops {
    waiting: Waiting,
    reader: JoinHandle<()>,
}

impl Drops {
    /// Of the gateway behind `client`.
    pub(super) async fn follow(client: &Client) -> Result<Self, LiveError> {
        let verdict = Some(VerdictWord::Dropped);
        let filter = EventFilter { verdict, follow: true, last: Some(0), pod: None };
        let mut lines = client.events(&filter).await?;
        let waiting = Waiting::default();
        let told = Arc::clone(&waiting);
        // When the gateway ends there is nothing more to tell: silence is a verdict too.
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next().await {
                if let EventLine::Event(record) = line
                    && let Some(opening) = opening(&record)
                {
                    let mut waiting = told.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(waiter) = waiting.remove(&opening) {
                        let _ = waiter.send(*record);
                    }
                }
            }
        });
        Ok(Self { waiting, reader })
    }

    /// Resolves once a frame that opens like this is dropped.
    pub(super) fn of(&self, opening: Opening) -> oneshot::Receiver<EventRecord> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(opening, sender);
        receiver
    }

    /// Forgets who waited.
    pub(super) fn forget(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn opening(record: &EventRecord) -> Option<Opening> {
    let address = |text: &Option<String>| text.as_deref()?.parse::<IpAddr>().ok();
    let ports = (record.source_port, record.destination_port);
    let (protocol, (from, to)) = match record.protocol.as_deref()? {
        "TCP" => ("TCP", ports),
        "UDP" => ("UDP", ports),
        "SCTP" => ("SCTP", ports),
        "ICMP" | "ICMPv6" => ("ICMP", (0, 0)),
        _ => return None,
    };
    Some(Opening {
        protocol,
        source: (address(&record.source_ip)?, from),
        destination: (address(&record.destination_ip)?, to),
    })
}
