//! How reading from the API server goes: kept by those who read, told to those who ask.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::super::{Away, ObjectTrouble, Saved, SourceKind, SourceStatus, StateOrigin};
use super::kind::{Kind, Part};
use super::store::Store;

/// What can be asked of a source at any time.
#[derive(Clone, Debug, Default)]
pub struct SourceHandle(Option<Arc<Health>>);

/// How reading goes.
#[derive(Debug)]
pub(super) struct Health {
    started: Instant,
    server: String,
    saved_path: PathBuf,
    /// When something last came for a part, in milliseconds since the start; 0: never.
    contacts: [AtomicU64; Part::ALL.len()],
    uses_endpoints: AtomicBool,
    known: Mutex<Known>,
    /// Something that failed before is well again: others may try, too.
    recovered: Notify,
    /// Other objects than before cannot be used.
    troubled: Notify,
}

#[derive(Debug, Default)]
struct Known {
    origin: StateOrigin,
    /// What happens when a part is tried, and since when nothing else does.
    failures: [Option<Failure>; Part::ALL.len()],
    was_read: [bool; Part::ALL.len()],
    /// Whether a list has begun that has not ended.
    is_listed: [bool; Part::ALL.len()],
    troubles: Vec<ObjectTrouble>,
    saved_at: Option<SystemTime>,
    saved_error: Option<String>,
}

#[derive(Debug)]
struct Failure {
    since: Instant,
    error: String,
}

impl SourceHandle {
    pub(super) fn of(health: Arc<Health>) -> Self {
        Self(Some(health))
    }

    /// How the source is, as of now.
    pub fn status(&self) -> SourceStatus {
        match &self.0 {
            Some(health) => health.status(),
            // They are read before anything else is done.
            None => SourceStatus { synced: true, origin: StateOrigin::Live, ..SourceStatus::default() },
        }
    }
}

impl Health {
    pub(super) fn new(server: String, saved_path: PathBuf) -> Self {
        Self {
            started: Instant::now(),
            server,
            saved_path,
            contacts: [const { AtomicU64::new(0) }; Part::ALL.len()],
            uses_endpoints: AtomicBool::new(false),
            known: Mutex::default(),
            recovered: Notify::new(),
            troubled: Notify::new(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has come for that kind.
    pub(super) fn contact(&self, kind: Kind) {
        let now = self.started.elapsed().as_millis() as u64;
        self.contacts[kind.part().index()].store(now.max(1), Relaxed);
    }

    /// The server has answered well to a question about that kind.
    pub(super) fn answered(&self, kind: Kind) {
        self.contact(kind);
        if self.known().failures[kind.part().index()].take().is_some() {
            tracing::info!(resource = kind.resource(), "the Kubernetes API answers again");
            self.recovered.notify_waiters();
        }
    }

    /// Something that failed before is well again.
    pub(super) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// A kind could not be read. Told once, until it is well again or fails otherwise.
    pub(super) fn failed(&self, kind: Kind, error: String) {
        let slot = &mut self.known().failures[kind.part().index()];
        let since = slot.as_ref().map_or_else(Instant::now, |before| before.since);
        if slot.as_ref().is_none_or(|before| before.error != error) {
            tracing::warn!(resource = kind.resource(), "the Kubernetes API cannot be read: {error}");
            *slot = Some(Failure { since, error });
        }
    }

    /// A list of a part begins. That its first page has come does not make the part well.
    pub(super) fn list_begun(&self, part: Part) {
        self.known().is_listed[part.index()] = true;
    }

    /// A part has been listed in full.
    pub(super) fn listed(&self, part: Part) {
        let known = &mut *self.known();
        (known.was_read[part.index()], known.is_listed[part.index()]) = (true, false);
    }

    /// Whether core/v1 Endpoints are read.
    pub(super) fn use_endpoints(&self, uses: bool) {
        if self.uses_endpoints.swap(uses, Relaxed) != uses {
            if uses {
                tracing::warn!(
                    "the API server has no discovery.k8s.io/v1: core/v1 Endpoints are read instead"
                );
            } else {
                tracing::info!("the API server has discovery.k8s.io/v1: EndpointSlices are read from now on");
            }
        }
    }

    /// From when the objects are that are in use.
    pub(super) fn set_origin(&self, origin: StateOrigin) {
        self.known().origin = origin;
    }

    /// The objects that are not used as they are.
    pub(super) fn set_troubles_of(&self, store: &Store) {
        let troubles = &mut self.known().troubles;
        if !store.troubles().eq(troubles.iter()) {
            *troubles = store.troubles().cloned().collect();
            self.troubled.notify_one();
        }
    }

    /// Objects of a kind that are not used as they are.
    pub(super) fn troubles_of(&self, kind: Kind) -> Vec<ObjectTrouble> {
        let known = self.known();
        known.troubles.iter().filter(|trouble| trouble.kind == kind.name()).cloned().collect()
    }

    /// Waits until others are than when this was last called. For one who waits.
    pub(super) async fn troubles_changed(&self) {
        self.troubled.notified().await;
    }

    /// The server's address.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// A copy is on disk, written then.
    pub(super) fn saved(&self, at: SystemTime) {
        let known = &mut *self.known();
        (known.saved_at, known.saved_error) = (Some(at), None);
    }

    /// The copy on disk could not be read or written.
    pub(super) fn not_saved(&self, error: String) {
        let known = &mut *self.known();
        if known.saved_error.as_ref() != Some(&error) {
            tracing::error!("the copy of the last good state, {}: {error}", self.saved_path.display());
            known.saved_error = Some(error);
        }
    }

    fn status(&self) -> SourceStatus {
        let known = self.known();
        let elapsed = self.started.elapsed();
        let since = |millis: u64| elapsed.saturating_sub(Duration::from_millis(millis)).as_secs_f64();
        let contacts = || self.contacts.iter().map(|contact| contact.load(Relaxed));
        let uses_endpoints = self.uses_endpoints.load(Relaxed);
        let (mut away, mut listed_anew) = (Vec::new(), Vec::new());
        for part in Part::ALL {
            let is_endpoints = part == Part::Endpoints && uses_endpoints;
            let kind = if is_endpoints { Kind::Endpoints } else { part.kind() };
            let (resource, was_read) = (kind.resource(), known.was_read[part.index()]);
            if was_read && known.is_listed[part.index()] {
                listed_anew.push(resource.clone());
            }
            if let Some(Failure { since, error }) = &known.failures[part.index()] {
                // That nothing came before it failed only tells that nothing changed.
                let failing = if was_read { since.elapsed() } else { elapsed };
                away.push(Away { resource, was_read, seconds: failing.as_secs_f64(), error: error.clone() });
            }
        }
        SourceStatus {
            kind: SourceKind::Kubernetes,
            server: Some(self.server.clone()),
            synced: known.was_read.iter().all(|was_read| *was_read),
            origin: known.origin,
            last_contact_seconds: contacts().max().filter(|last| *last > 0).map(since),
            away,
            listed_anew,
            endpoints_fallback: uses_endpoints,
            troubles: known.troubles.clone(),
            saved: Some(Saved {
                path: self.saved_path.clone(),
                age_seconds: known.saved_at.map(|at| at.elapsed().unwrap_or_default().as_secs_f64()),
                error: known.saved_error.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_told_until_it_answers() {
        let health = Health::new("https://10.0.0.1".into(), "/nowhere".into());
        health.failed(Kind::Pod, "refused".into());
        let status = health.status();
        assert_eq!(
            (status.synced, status.origin, status.last_contact_seconds),
            (false, StateOrigin::Nothing, None)
        );
        assert_eq!((status.away[0].resource.as_str(), status.away[0].was_read), ("pods", false));
        for part in Part::ALL {
            health.listed(part);
        }
        health.set_origin(StateOrigin::Live);
        assert!(health.status().synced && !health.status().is_current());
        health.answered(Kind::Pod);
        assert!(health.status().is_current() && health.status().last_contact_seconds.is_some());
        health.use_endpoints(true);
        health.failed(Kind::Endpoints, "forbidden".into());
        assert_eq!(health.status().away[0].resource, "endpoints");
    }

    #[test]
    fn it_is_away_since_it_was_found_so_and_not_since_something_last_changed() {
        let mut health = Health::new("https://10.0.0.1".into(), "/nowhere".into());
        health.started = Instant::now().checked_sub(Duration::from_hours(1)).unwrap();
        health.listed(Part::Pods);
        health.failed(Kind::Pod, "reset".into());
        health.failed(Kind::Pod, "refused".into());
        health.failed(Kind::Node, "refused".into());
        let away = health.status().away;
        let told: Vec<_> = away.iter().map(|away| (away.resource.as_str(), away.seconds >= 3600.0)).collect();
        assert_eq!(told, [("nodes", true), ("pods", false)], "nodes were never read");
        assert_eq!(away[1].error, "refused");
    }

    #[test]
    fn a_list_that_has_begun_is_told_until_it_is_whole() {
        let health = Health::new("https://10.0.0.1".into(), "/nowhere".into());
        for part in Part::ALL {
            health.list_begun(part);
        }
        assert_eq!(health.status().listed_anew, [""; 0], "the first of all is told by `synced`");
        for part in Part::ALL {
            health.listed(part);
        }
        health.set_origin(StateOrigin::Live);
        assert!(health.status().is_current());

        health.failed(Kind::Pod, "410 too old".into());
        health.list_begun(Part::Pods);
        // The first page.
        health.answered(Kind::Pod);
        let status = health.status();
        assert_eq!((status.away, status.listed_anew), (vec![], vec!["pods".to_owned()]));
        assert!(!health.status().is_current());
        health.listed(Part::Pods);
        assert!(health.status().is_current());
    }
}
