//! Policies that cannot be applied are told as Events.

use podgate_control::source::KubernetesOptions;
use serde_json::json;

use crate::fixture::{Api, POLICIES, policy};

#[tokio::test]
async fn a_policy_that_cannot_be_applied_has_an_event_that_says_why() {
    let api = Api::start().await;
    api.put(POLICIES, policy("fine", &json!({"podSelector": {}})));
    let bad = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "protocol": "ICMP"}]}]});
    api.put(POLICIES, policy("bad", &bad));
    let options = KubernetesOptions { node: Some("node-1".into()), ..api.options() };
    let mut following = api.follow_with(options).await;
    following.next().await;
    let events = api.until_events(1).await;
    let event = &events[0];
    let regarding = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "namespace": "x", "name": "bad",
                           "uid": api.get(POLICIES, "x/bad")["metadata"]["uid"]});
    assert_eq!(event["regarding"], regarding);
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("PodsIsolated")));
    assert_eq!(
        (&event["reportingController"], &event["reportingInstance"]),
        (&json!("podgate"), &json!("node-1"))
    );
    let note = event["note"].as_str().unwrap();
    assert!(
        note.contains("spec.ingress[0].ports[0].protocol") && note.contains("it allows nothing"),
        "{note}"
    );

    // Mended, and bad otherwise: the last good one stays, and that is another Event. The fine one has none.
    api.put(POLICIES, policy("bad", &json!({"podSelector": {}})));
    following.until_status("it is mended", |status| status.troubles.is_empty()).await;
    api.put(POLICIES, policy("bad", &json!({"podSelector": {}, "egres": []})));
    let events = api.until_events(2).await;
    assert_eq!(events[1]["reason"], "LastGoodApplied");
    assert!(events.iter().all(|event| event["regarding"]["name"] == "bad"), "{events:?}");
}

#[tokio::test]
async fn a_server_that_takes_no_events_changes_nothing() {
    let api = Api::start().await;
    api.refuse_events(Some(403));
    api.put(POLICIES, policy("bad", &json!({"podSelector": {}, "egres": []})));
    let mut following = api.follow().await;
    assert_eq!(following.next().await.cluster.policies().len(), 1);
    api.until_events(1).await;
    api.put(POLICIES, policy("later", &json!({"podSelector": {}})));
    following.until("the next change comes", |cluster| cluster.policies().len() == 2).await;
}
