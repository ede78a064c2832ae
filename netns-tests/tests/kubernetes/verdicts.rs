//! What users do with the API is what becomes of frames.

use podgate_netns_tests::{Gateway, Turn, wait_until};
use serde_json::json;

use crate::scene::{Scene, described};

#[test]
fn policies_that_are_created_changed_and_deleted_are_obeyed() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    for from in ["shop/web", "other/guest"] {
        scene.until_open(from, "there is no policy");
    }
    scene.admit_only("db", "{podSelector: {matchLabels: {app: web}}}");
    scene.until_closed("other/guest", "only shop/web is admitted");
    assert!(scene.reaches("shop/web"));

    scene.admit_only("db", "{namespaceSelector: {matchLabels: {team: other}}}");
    scene.until_closed("shop/web", "only pods of the team `other` are admitted");
    scene.until_open("other/guest", "pods of the team `other` are admitted");

    scene.api.client().delete("NetworkPolicy shop/db");
    scene.until_open("shop/web", "the policy is gone");
    let status = gateway.instance.status();
    assert!(status.source.is_current(), "{:#?}", status.source);
    // This API server keeps one address of a pod; the other one is nobody's, and said to be.
    let others: Vec<_> =
        status.alarms.iter().filter(|alarm| !alarm.contains("addresses that are not its own: fd")).collect();
    assert_eq!(others, [""; 0]);
    assert!(status.source.endpoints_fallback, "kube-apiserver 1.20 has EndpointSlices as v1beta1 only");
}

#[test]
fn pods_and_namespaces_that_are_relabelled_are_other_peers() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    scene.admit_only(
        "db",
        "{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {app: web}}}",
    );
    let _gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    scene.until_open("shop/web", "it is the peer");
    assert!(!scene.reaches("other/guest"));

    let label = |app: &str| json!({"metadata": {"labels": {"app": app}}});
    scene.api.client().patch("Pod shop/web", label("else"));
    scene.until_closed("shop/web", "its label is another");
    scene.api.client().patch("Pod shop/web", label("web"));
    scene.until_open("shop/web", "its label is back");

    scene.api.client().patch("Pod other/guest", label("web"));
    scene.api.client().patch("Namespace other", json!({"metadata": {"labels": {"team": "shop"}}}));
    scene.until_open("other/guest", "its namespace has the team's label");
    scene.api.client().patch("Namespace other", json!({"metadata": {"labels": {"team": null}}}));
    scene.until_closed("other/guest", "its namespace has it no more");
}

#[test]
fn pods_that_are_deleted_are_closed_and_new_ones_opened() {
    let _turn = Turn::shared();
    let mut scene = Scene::new();
    scene.admit_only("db", "{podSelector: {}}");
    let gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    scene.until_open("shop/web", "pods of its namespace are admitted");
    scene.api.client().delete("Pod shop/web");
    scene.until_closed("shop/web", "it is no pod any more, though its device is still there");

    scene.node.add("shop/late");
    let late = scene.node.pods.last().expect("it was added");
    wait_until("its port is guarded", std::time::Duration::from_secs(20), || {
        gateway.instance.status().ports.iter().any(|port| port.device == late.port)
    });
    assert!(!scene.reaches("shop/late"), "nobody knows it yet");
    scene.api.client().apply(&described(late));
    scene.until_open("shop/late", "it is a pod");
    assert!(gateway.instance.status().time_to_policy.is_some());
}
