//! What `podgate observe --follow` says, awaited.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use podgate_control::api::EventRecord;

use crate::program::PATIENCE;

/// A running `observe --follow`; ended when dropped.
#[derive(Debug)]
pub struct Events {
    child: Child,
    records: Receiver<EventRecord>,
}

impl Events {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("podgate observe");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, records) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(parse(&line)).is_err() {
                    break;
                }
            }
        });
        Self { child, records }
    }

    /// Waits for an event of that kind; panics with what came instead.
    #[track_caller]
    pub fn expect(&self, what: &str, mut is_it: impl FnMut(&EventRecord) -> bool) -> EventRecord {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        loop {
            match self.records.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(record) if is_it(&record) => return record,
                Ok(record) => others.push(record),
                Err(RecvTimeoutError::Timeout) => panic!("no event came: {what}; but {others:#?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("observe ended; no event: {what}; but {others:#?}")
                }
            }
        }
    }

    /// Waits for a drop with that reason, from one pod (`namespace/name`) to another or anything.
    #[track_caller]
    pub fn expect_drop(&self, reason: &str, from: &str, to: Option<&str>) -> EventRecord {
        self.expect(&format!("{reason} from {from} to {to:?}"), |event| {
            event.reason == reason
                && event.source.as_deref() == Some(from)
                && to.is_none_or(|to| event.destination.as_deref() == Some(to))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line of `observe -o json`.
pub(crate) fn parse(line: &str) -> EventRecord {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("podgate observe -o json: {error}: {line}"))
}
