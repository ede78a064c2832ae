//! What users do with the API is what becomes of frames.

use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::signal::Signal;
use podgate_netns_tests::{Gateway, Turn, wait_until};
use serde_json::json;

use crate::scene::{Scene, described};

const WITHIN: Duration = Duration::from_secs(30);

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
    wait_until("its port is guarded", WITHIN, || {
        gateway.instance.status().ports.iter().any(|port| port.device == late.port)
    });
    assert!(!scene.reaches("shop/late"), "nobody knows it yet");
    scene.api.client().apply(&described(late));
    scene.until_open("shop/late", "it is a pod");
    assert!(gateway.instance.status().time_to_policy.is_some());
}

#[test]
fn policies_too_many_to_compile_keep_no_gateway_from_starting_and_pods_closed() {
    // Each rule admits an address of its own to a port of its own: more identities than there can be.
    const POLICIES: u32 = 14;
    const RULES: u32 = 5000;
    const PATH: &str = "/apis/networking.k8s.io/v1/namespaces/other/networkpolicies";
    let rule = |number: u32| {
        let cidr = format!("{}/32", Ipv4Addr::from_bits(0x1400_0000 + number));
        let (port, protocol) = (number % 65_535 + 1, if number < 65_535 { "TCP" } else { "UDP" });
        json!({"from": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": port, "protocol": protocol}]})
    };
    let _turn = Turn::shared();
    let scene = Scene::new();
    for number in 0..POLICIES {
        let rules: Vec<_> = (number * RULES..(number + 1) * RULES).map(rule).collect();
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules});
        scene
            .api
            .client()
            .create(PATH, json!({"metadata": {"name": format!("many-{number}")}, "spec": spec}));
    }
    let mut gateway = Gateway::prepare_of_api(&scene.node, &scene.api, &[]);
    gateway.launch();
    // What is kept on disk is there before anything is guarded.
    wait_until("the state is saved", WITHIN, || gateway.saved().exists());
    gateway.end(Signal::SIGKILL);
    gateway.launch();
    let alarms = || gateway.instance.try_status().map(|status| status.alarms).unwrap_or_default();
    wait_until("it says why nothing is in force", WITHIN, || {
        alarms()
            .iter()
            .any(|alarm| alarm.contains("identities where") && alarm.contains("nothing passes until"))
    });
    let status = gateway.instance.status();
    assert_eq!((status.epoch, status.ports.len()), (None, scene.node.pods.len()), "all are guarded");
    assert!(!scene.reaches("shop/web"), "nobody knows what may pass");
}
