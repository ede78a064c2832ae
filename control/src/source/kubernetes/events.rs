//! Policies that cannot be applied, told where their authors look: as Kubernetes Events.
//!
//! What is told is what `podgate status` says of them. Every node has the same to say of the same policy, and all
//! share one Event: its name follows from the policy and from what is told, whoever is first creates it, and that
//! it is there already is as good as having written it. Nodes that enforce something else, as a newly started
//! one that never saw the policy when it was good, share another.
//!
//! An Event is never written to again. It says what was found first, when, and by which node; the server forgets
//! it after a time of its own (an hour, as it comes). A policy that is mended and bad again in the same way within
//! that time has the Event of the first time still, and no second one: a count would be one of nodes and restarts.
//! How it is now, `podgate status` says. That Events cannot be written changes nothing else.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::super::{Instead, ObjectTrouble};
use super::backoff::random;
use super::health::Health;
use super::kind::Kind;
use super::reading::told;

/// Who it is from, as `kubectl events` and `kubectl get events` tell in their wide form.
const CONTROLLER: &str = "podgate";
/// What the server takes of a note, in bytes.
const NOTE_LEN_BYTES: usize = 1024;
/// What it takes of a name (RFC 1123, as Kubernetes has it).
const NAME_LEN_BYTES: usize = 253;
/// What it takes of the name of who reports.
const REPORTER_LEN_BYTES: usize = 128;
/// Between two Events: a cluster full of bad policies is no reason to flood its server.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the server may take for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// So many refusals, and the rest is left for the next time.
const MOST_REFUSALS: u32 = 8;

/// Tells policies' troubles as they come, for ever, each at a random moment within `spread`. `node` is who says
/// so.
pub(super) async fn tell(client: Client, health: Arc<Health>, node: Option<String>, spread: Duration) {
    let mut teller =
        Teller { client, reporter: reporter(node.or_else(hostname)), told: vec![], refused: vec![] };
    let mut is_well = true;
    loop {
        if !teller.untold(&health).is_empty() {
            // All nodes have heard of it at the same moment.
            sleep(wait(spread, random())).await;
        }
        let untold = teller.untold(&health);
        match teller.publish(untold).await {
            None => {
                is_well = true;
                health.troubles_changed().await;
            }
            Some(error) => {
                if std::mem::take(&mut is_well) {
                    tracing::warn!("policies' troubles cannot all be told as Kubernetes Events: {error}");
                }
                tokio::select! {
                    () = health.troubles_changed() => {}
                    () = sleep(AGAIN) => {}
                }
            }
        }
    }
}

/// How long to wait before telling; `random` is 0 to 1.
fn wait(spread: Duration, random: f64) -> Duration {
    spread.mul_f64(random.clamp(0.0, 1.0))
}

/// Tells troubles, and knows which it has told.
struct Teller {
    client: Client,
    reporter: String,
    told: Vec<ObjectTrouble>,
    /// What the server did not take, the last one last: tried again after all others.
    refused: Vec<ObjectTrouble>,
}

impl Teller {
    /// The troubles that have not been told. What was mended and is bad again is told again.
    fn untold(&mut self, health: &Health) -> Vec<ObjectTrouble> {
        let mut troubles = health.troubles_of(Kind::NetworkPolicy);
        self.told.retain(|trouble| troubles.contains(trouble));
        self.refused.retain(|trouble| troubles.contains(trouble));
        troubles.retain(|trouble| !self.told.contains(trouble));
        troubles.sort_by_key(|trouble| self.refused.iter().position(|refused| refused == trouble));
        troubles
    }

    /// Returns why some of it is left to be told, if so. One that the server does not take, as in a namespace that
    /// is being deleted, is in no other's way.
    async fn publish(&mut self, untold: Vec<ObjectTrouble>) -> Option<String> {
        let (mut refusals, mut why) = (0, None);
        for trouble in untold {
            let namespace = trouble.namespace.as_deref().unwrap_or_default();
            let events = Api::namespaced(self.client.clone(), namespace);
            let (how, event) = (PostParams::default(), event(&trouble, &self.reporter, Timestamp::now()));
            let created = timeout(PATIENCE, events.create(&how, &event)).await;
            self.refused.retain(|refused| *refused != trouble);
            match created {
                Ok(Ok(_)) => self.told.push(trouble),
                // Another node was first, or this one before a restart.
                Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => self.told.push(trouble),
                Ok(Err(error @ kube::Error::Api(_))) => {
                    why = Some(told(&error, "create on events.events.k8s.io"));
                    self.refused.push(trouble);
                    refusals += 1;
                    if refusals == MOST_REFUSALS {
                        break;
                    }
                }
                // It would be the same with all others.
                Ok(Err(error)) => return Some(told(&error, "")),
                Err(_) => return Some("the server does not answer".to_owned()),
            }
            sleep(PAUSE).await;
        }
        why
    }
}

fn event(trouble: &ObjectTrouble, reporter: &str, now: Timestamp) -> Event {
    let ObjectTrouble { problems, instead, .. } = trouble;
    let note = format!("Not applied: until it is mended, {}. {}", instead.words(), problems.join("; "));
    let reason = match instead {
        Instead::LastGood => "LastGoodApplied",
        Instead::Isolated => "PodsIsolated",
        Instead::LeftOut => "LeftOut",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name(trouble, &note)),
            namespace: trouble.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(reporter.into()),
        action: Some("Apply".into()),
        reason: Some(reason.into()),
        type_: Some("Warning".into()),
        regarding: Some(reference(trouble)),
        note: Some(cut(&note, NOTE_LEN_BYTES).into()),
        ..Event::default()
    }
}

/// The same on every node that has the same to say: the policy's name, and a hash of its uid and of all that is
/// told.
fn name(trouble: &ObjectTrouble, note: &str) -> String {
    let uid = trouble.uid.as_deref().unwrap_or_default();
    let hash = format!("{:08x}", crc32fast::hash(format!("{uid} {note}").as_bytes()));
    // What is cut off may have ended a word with a sign that no name may have before a dot.
    let policy = cut(&trouble.name, NAME_LEN_BYTES - 1 - hash.len()).trim_end_matches(['-', '.']);
    format!("{policy}.{hash}")
}

fn reference(trouble: &ObjectTrouble) -> ObjectReference {
    ObjectReference {
        api_version: Some(trouble.api_version.clone()),
        kind: Some(trouble.kind.clone()),
        namespace: trouble.namespace.clone(),
        name: Some(trouble.name.clone()),
        uid: trouble.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Who reports: the node, or podgate where its name is not known.
fn reporter(node: Option<String>) -> String {
    let node = node.unwrap_or_else(|| CONTROLLER.to_owned());
    cut(&node, REPORTER_LEN_BYTES).to_owned()
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn cut(text: &str, len_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(len_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(name: &str, uid: &str, problem: &str) -> ObjectTrouble {
        ObjectTrouble {
            api_version: "networking.k8s.io/v1".into(),
            kind: "NetworkPolicy".into(),
            namespace: Some("x".into()),
            name: name.into(),
            uid: Some(uid.into()),
            problems: vec![problem.into()],
            instead: Instead::LastGood,
        }
    }

    fn name_of(trouble: &ObjectTrouble) -> String {
        event(trouble, "node-1", Timestamp::UNIX_EPOCH).metadata.name.unwrap()
    }

    #[test]
    fn a_long_story_is_cut_to_what_the_server_takes() {
        let story = "spec.ingress[0]: ü".repeat(200);
        let event = event(&trouble("p", "u", &story), "node-1", Timestamp::UNIX_EPOCH);
        let note = event.note.unwrap();
        assert!(note.len() <= NOTE_LEN_BYTES && note.len() > NOTE_LEN_BYTES - 4, "{}", note.len());
        assert!(note.starts_with(
            "Not applied: until it is mended, what it said before stays in force. spec.ingress"
        ));
        assert_eq!(event.reason.as_deref(), Some("LastGoodApplied"));
        let reporter = reporter(Some("ü".repeat(100)));
        assert_eq!(reporter.len(), REPORTER_LEN_BYTES);
        assert_eq!(super::reporter(None), CONTROLLER);
    }

    #[test]
    fn who_has_the_same_to_say_says_it_under_the_same_name() {
        let one = trouble("p", "u1", "spec.later");
        // For good: nodes of different versions meet during an update.
        assert_eq!(name_of(&one), "p.ba4ba5f3");
        let elsewhere = event(&one, "node-2", Timestamp::from_second(1_700_000_000).unwrap());
        assert_eq!(elsewhere.metadata.name.unwrap(), name_of(&one), "neither by whom, nor when");
        let isolated = ObjectTrouble { instead: Instead::Isolated, ..one.clone() };
        let beyond = |end: &str| trouble("p", "u1", &format!("{}{end}", "long ".repeat(400)));
        let all = [
            one,
            trouble("p", "u2", "spec.later"),
            trouble("p", "u1", "spec.other"),
            isolated,
            beyond("a"),
            beyond("b"),
        ];
        let names: std::collections::BTreeSet<_> = all.iter().map(name_of).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
    }

    #[test]
    fn a_long_name_is_cut_where_a_name_may_end() {
        let longest = "a".repeat(NAME_LEN_BYTES);
        let name = name_of(&trouble(&longest, "u", "spec.later"));
        assert_eq!(name.len(), NAME_LEN_BYTES);
        let dashed = format!("{}-.-{}", "a".repeat(241), "b".repeat(9));
        let name = name_of(&trouble(&dashed, "u", "spec.later"));
        assert_eq!(name.rsplit_once('.').unwrap().0, "a".repeat(241));
    }

    #[test]
    fn the_wait_before_telling_is_bounded() {
        let spread = Duration::from_secs(5);
        assert_eq!(wait(spread, 0.0), Duration::ZERO);
        assert_eq!(wait(spread, 0.5), Duration::from_millis(2500));
        for _ in 0..100 {
            assert!(wait(spread, random()) <= spread);
        }
        assert_eq!(wait(Duration::ZERO, 1.0), Duration::ZERO);
    }
}
