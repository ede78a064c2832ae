//! What the gateway tells of the attempts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Client, EventFilter, EventLine, EventRecord, VerdictWord};
use crate::lab::LabError;

/// How long the gateway may take to tell of what has happened.
const TELLS_WITHIN: Duration = Duration::from_secs(2);

/// Where a packet came from: TCP or UDP, address and port.
pub(super) type Origin = (&'static str, IpAddr, u16);

/// Every event since it was made, by where the packet came from; the latest of each.
#[derive(Debug)]
pub(super) struct Told {
    records: Arc<Mutex<HashMap<Origin, EventRecord>>>,
    count: watch::Receiver<u64>,
    reader: JoinHandle<()>,
}

impl Told {
    pub(super) async fn follow(client: &Client) -> Result<Self, LabError> {
        let filter = EventFilter { verdict: None, follow: true, last: Some(0), pod: None };
        let mut lines = client.events(&filter).await?;
        let records = Arc::<Mutex<HashMap<Origin, EventRecord>>>::default();
        let (told, count) = watch::channel(0);
        let kept = Arc::clone(&records);
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next().await {
                if let EventLine::Event(record) = line
                    && let Some(origin) = origin(&record)
                {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).insert(origin, *record);
                    told.send_modify(|count| *count += 1);
                }
            }
        });
        Ok(Self { records, count, reader })
    }

    /// What is told of a connection from there; `None` if nothing is in time. A drop has the last word.
    pub(super) async fn of(&self, origin: Origin, verdict: VerdictWord) -> Option<EventRecord> {
        let found = || {
            let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            records.get(&origin).filter(|record| record.verdict == verdict).cloned()
        };
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

fn origin(record: &EventRecord) -> Option<Origin> {
    let protocol = ["TCP", "UDP"].into_iter().find(|name| record.protocol.as_deref() == Some(name))?;
    Some((protocol, record.source_ip.as_deref()?.parse().ok()?, record.source_port))
}
