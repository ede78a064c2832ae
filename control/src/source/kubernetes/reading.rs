//! One part of the cluster: listed, watched, tried again.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep};

use super::backoff::{Backoff, random};
use super::health::Health;
use super::kind::{Kind, Part};
use super::received::Received;

/// What was read.
#[derive(Debug)]
pub(super) enum News {
    /// A list begins; nothing that is known goes before it ends.
    Begun,
    /// An object of the list.
    Listed(Received),
    /// The list has ended.
    Complete,
    /// An object is there, or is another now.
    Applied(Received),
    /// An object is gone.
    Deleted(Received),
}

/// Well for so long, and the next failure counts as a first one.
const SETTLED: Duration = Duration::from_mins(1);
/// What the account needs on everything that is read.
const RIGHTS: &str = "get, list and watch on it";
/// Objects in one answer to a list.
const PAGE: u32 = 500;

/// Reads `part` for as long as anybody listens.
pub(super) async fn read(part: Part, client: Client, health: Arc<Health>, news: mpsc::Sender<(Kind, News)>) {
    let mut trying =
        Trying { backoff: Backoff::default(), last: Instant::now(), was_unreachable: false, health: &health };
    while !news.is_closed() {
        let kind = match kind_of(part, &client).await {
            Ok(kind) => kind,
            Err(error) => {
                trying.pause(part.kind(), told(&error, RIGHTS), is_unreachable(&error)).await;
                continue;
            }
        };
        if part == Part::Endpoints {
            health.use_endpoints(kind == Kind::Endpoints);
        }
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = pin!(watcher(Api::<Received>::all_with(client.clone(), &kind), config));
        while let Some(event) = events.next().await {
            let happened = match event {
                Ok(Event::Init) => {
                    health.list_begun(part);
                    News::Begun
                }
                Ok(Event::InitApply(object)) => News::Listed(object),
                Ok(Event::InitDone) => News::Complete,
                Ok(Event::Apply(object)) => News::Applied(object),
                Ok(Event::Delete(object)) => News::Deleted(object),
                Err(error) => {
                    let anew = is_to_begin_anew(&error, trying.backoff.failures());
                    trying.pause(kind, told_of(&error), cause(&error).is_some_and(is_unreachable)).await;
                    // Another server may be there now, which has what the one before had not.
                    if anew || kind_of(part, &client).await.is_ok_and(|now| now != kind) {
                        break;
                    }
                    continue;
                }
            };
            if news.send((kind, happened)).await.is_err() {
                return;
            }
        }
    }
}

struct Trying<'a> {
    backoff: Backoff,
    last: Instant,
    /// The last one did not reach the server.
    was_unreachable: bool,
    health: &'a Health,
}

impl Trying<'_> {
    /// Waits before the next try. Where the server was not reached, not longer than until another part is well
    /// again; what a server that is there has refused, it would refuse again.
    async fn pause(&mut self, kind: Kind, error: String, was_unreachable: bool) {
        // A server that has just come up may refuse at first what it admits once it has read its roles.
        if self.last.elapsed() > SETTLED || self.was_unreachable && !was_unreachable {
            self.backoff.reset();
        }
        self.was_unreachable = was_unreachable;
        self.health.failed(kind, error);
        let pause = self.backoff.next(random());
        tokio::select! {
            () = sleep(pause) => {}
            () = self.health.recovered(), if was_unreachable => {}
        }
        self.last = Instant::now();
    }
}

/// What tells the part on this server.
async fn kind_of(part: Part, client: &Client) -> Result<Kind, kube::Error> {
    if part != Part::Endpoints {
        return Ok(part.kind());
    }
    match client.list_api_group_resources(Kind::EndpointSlice.api_version()).await {
        Ok(list) if list.resources.iter().any(|resource| resource.name == "endpointslices") => {
            Ok(Kind::EndpointSlice)
        }
        Ok(_) => Ok(Kind::Endpoints),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Kind::Endpoints),
        // We may not ask what there is; the list will tell.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Kind::EndpointSlice),
        Err(error) => Err(error),
    }
}

/// Whether what was missed can only be made up for by a list.
fn is_to_begin_anew(error: &watcher::Error, failures: u32) -> bool {
    match error {
        // 410: what came after the version we have is forgotten; 504: the server has not come so far, as after
        // it was put back to an earlier state. A watch that is refused for long may have such a reason, too.
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => match status.code {
            410 | 504 => true,
            401 | 403 | 429 => false,
            _ => failures >= 3,
        },
        // An event that could not be read is an event that was missed.
        watcher::Error::WatchFailed(error) => !matches!(error, kube::Error::ReadEvents(_)),
        _ => false,
    }
}

/// What a request failed of, if it was one.
fn cause(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

/// Whether there was no answer at all.
fn is_unreachable(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_))
}

fn told_of(error: &watcher::Error) -> String {
    match (cause(error), error) {
        (Some(error), _) => told(error, RIGHTS),
        (None, watcher::Error::WatchError(status)) => of_status(status, RIGHTS),
        (None, _) => "the answer has no resource version".to_owned(),
    }
}

/// What happened, with all that it came from, and what to do where that is known. `rights` is what the account
/// needs for it.
pub(super) fn told(error: &kube::Error, rights: &str) -> String {
    if let kube::Error::Api(status) = error {
        return of_status(status, rights);
    }
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if text.is_empty() {
            text = said;
        } else if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

fn of_status(status: &Status, rights: &str) -> String {
    let Status { code, message, details, .. } = status;
    let is_ending = details
        .as_ref()
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"));
    let remedy = match code {
        401 => "; give podgate credentials that are valid".to_owned(),
        403 if !is_ending => format!("; grant podgate's account {rights}"),
        _ => String::new(),
    };
    format!("{code} {message}{remedy}")
}
