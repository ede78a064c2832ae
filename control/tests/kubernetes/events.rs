//! Policies that cannot be applied are told as Events.

use podgate_control::source::KubernetesOptions;
use serde_json::{Value, json};

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
    api.refuse_events(None, 403);
    api.put(POLICIES, policy("bad", &json!({"podSelector": {}, "egres": []})));
    let mut following = api.follow().await;
    assert_eq!(following.next().await.cluster.policies().len(), 1);
    api.until_events(1).await;
    api.put(POLICIES, policy("later", &json!({"podSelector": {}})));
    following.until("the next change comes", |cluster| cluster.policies().len() == 2).await;
}

#[tokio::test]
async fn an_event_that_is_refused_is_in_no_others_way() {
    let api = Api::start().await;
    api.refuse_events(Some("a-bad"), 403);
    for name in ["a-bad", "b-bad"] {
        api.put(POLICIES, policy(name, &json!({"podSelector": {}, "egres": []})));
    }
    let _following = api.follow().await;
    let names = |events: &[Value]| -> Vec<_> {
        events.iter().map(|event| event["regarding"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&api.until_events(2).await), ["a-bad", "b-bad"]);
    // Nor in the way of one that comes later. It may be tried once more before that one is seen.
    api.put(POLICIES, policy("c-bad", &json!({"podSelector": {}, "egres": []})));
    let later = names(&api.until_events(4).await);
    assert!(
        later[2..].contains(&"c-bad".to_owned()) && later[2..].contains(&"a-bad".to_owned()),
        "{later:?}"
    );
}

#[tokio::test]
async fn all_nodes_share_one_event() {
    let api = Api::start().await;
    let bad = |field: &str| json!({"podSelector": {}, field: []});
    api.put(POLICIES, policy("bad", &bad("egres")));
    let mut nodes = Vec::new();
    for node in ["node-1", "node-2"] {
        let saved = api.dir.path().join(node).join("objects.jsonl");
        let options = KubernetesOptions { node: Some(node.into()), saved, ..api.options() };
        nodes.push(api.follow_with(options).await);
    }
    let is_of = |event: &Value, of: &str| event["regarding"]["name"] == of;
    let first = api.until_events(2).await;
    assert_eq!(first[0]["metadata"]["name"], first[1]["metadata"]["name"]);
    assert_ne!(first[0]["reportingInstance"], first[1]["reportingInstance"]);

    // Who was second has told it as well: it is not tried again, and the next is told.
    api.put(POLICIES, policy("worse", &bad("ingres")));
    let events = api.until_events(4).await;
    assert_eq!(events.iter().filter(|event| is_of(event, "worse")).count(), 2, "{events:#?}");

    // Bad in another way, which is another Event; mended and bad in the same way, which is not.
    for (field, count) in [("ingres", 6), ("egres", 8)] {
        api.put(POLICIES, policy("bad", &bad(field)));
        let events = api.until_events(count).await;
        let name = |event: &Value| event["metadata"]["name"].clone();
        let is_new = |event: &Value| name(event) != name(&first[0]);
        let last = &events[count - 2..];
        assert!(last.iter().all(|event| is_of(event, "bad") && is_new(event) == (field == "ingres")));
    }
}
