//! Policies that cannot be applied, told where their authors look: as Kubernetes Events.
//!
//! What is told is what `podgate status` says of them, once a trouble, by every node. That Events cannot be
//! written changes nothing else.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::{sleep, timeout};

use super::super::{Instead, ObjectTrouble};
use super::health::Health;
use super::kind::Kind;

/// As `kubectl describe` shows it, under From.
const CONTROLLER: &str = "podgate";
/// What the server takes of a note, in bytes.
const NOTE_LEN_BYTES: usize = 1024;
/// Between two Events: a cluster full of bad policies is no reason to flood its server.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the server may take for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Tells policies' troubles as they come, for ever. `node` is who says so.
pub(super) async fn tell(client: Client, health: Arc<Health>, node: Option<String>) {
    let reporter = Reporter { controller: CONTROLLER.into(), instance: node.or_else(hostname) };
    let recorder = Recorder::new(client, reporter);
    let mut told: Vec<ObjectTrouble> = Vec::new();
    let mut is_well = true;
    loop {
        let troubles = health.troubles_of(Kind::NetworkPolicy);
        // What was mended and is bad again is told again.
        told.retain(|trouble| troubles.contains(trouble));
        let untold: Vec<_> = troubles.into_iter().filter(|trouble| !told.contains(trouble)).collect();
        let outcome = publish(&recorder, untold, &mut told).await;
        match outcome {
            Ok(()) => {
                is_well = true;
                health.troubles_changed().await;
            }
            Err(error) => {
                if std::mem::take(&mut is_well) {
                    tracing::warn!("policies' troubles cannot be told as Kubernetes Events: {error}");
                }
                sleep(AGAIN).await;
            }
        }
    }
}

async fn publish(
    recorder: &Recorder,
    untold: Vec<ObjectTrouble>,
    told: &mut Vec<ObjectTrouble>,
) -> Result<(), String> {
    for trouble in untold {
        let (event, object) = (event(&trouble), reference(&trouble));
        let published = timeout(PATIENCE, recorder.publish(&event, &object)).await;
        published.map_err(|_| "the server does not answer".to_owned())?.map_err(|error| error.to_string())?;
        told.push(trouble);
        sleep(PAUSE).await;
    }
    Ok(())
}

fn event(trouble: &ObjectTrouble) -> Event {
    let ObjectTrouble { problems, instead, .. } = trouble;
    let mut note = format!("Not applied: until it is mended, {}. {}", instead.words(), problems.join("; "));
    note.truncate(note.floor_char_boundary(NOTE_LEN_BYTES));
    let reason = match instead {
        Instead::LastGood => "LastGoodApplied",
        Instead::Isolated => "PodsIsolated",
        Instead::LeftOut => "LeftOut",
    };
    Event {
        type_: EventType::Warning,
        reason: reason.into(),
        note: Some(note),
        action: "Apply".into(),
        secondary: None,
    }
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

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_story_is_cut_to_what_the_server_takes() {
        let trouble = ObjectTrouble {
            api_version: "networking.k8s.io/v1".into(),
            kind: "NetworkPolicy".into(),
            namespace: Some("x".into()),
            name: "p".into(),
            uid: None,
            problems: vec!["spec.ingress[0]: ü".repeat(200)],
            instead: Instead::LastGood,
        };
        let event = event(&trouble);
        let note = event.note.unwrap();
        assert!(note.len() <= NOTE_LEN_BYTES && note.len() > NOTE_LEN_BYTES - 4, "{}", note.len());
        assert!(note.starts_with(
            "Not applied: until it is mended, what it said before stays in force. spec.ingress"
        ));
        assert_eq!(event.reason, "LastGoodApplied");
    }
}
