//! Policies that cannot be applied are told as Events, by a server that has its own rules for them.

use std::time::Duration;

use podgate_control::source::{Access, Follower, KubernetesOptions};
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::{ApiServer, Node, Turn, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(20);

/// Nodes without a gateway: what each reads of the API, and tells.
struct Nodes {
    followers: Vec<Follower>,
    dir: TempDir,
}

impl Nodes {
    fn add(&mut self, node: &Node, api: &ApiServer, name: &str) {
        let options = KubernetesOptions {
            access: Access::Kubeconfig { file: Some(api.reader()), context: None },
            saved: self.dir.path().join(format!("{}/objects.jsonl", self.followers.len())),
            node: Some(name.to_owned()),
            silence: KubernetesOptions::SILENCE,
            spread: Duration::ZERO,
        };
        // It reads on a thread of its own, which is where this one is.
        let started = node.space.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(Follower::start(options))
        });
        self.followers.push(started.expect("a kubeconfig"));
    }
}

/// Each Event as its policy, who tells, and the reason; in order.
fn told(api: &ApiServer) -> Vec<(String, String, String)> {
    let list = api.client().get("/apis/events.k8s.io/v1/namespaces/shop/events");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let events = list["items"].as_array().expect("a list").iter();
    let told = events.map(|event| {
        (text(&event["regarding"]["name"]), text(&event["reportingInstance"]), text(&event["reason"]))
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

#[track_caller]
fn until_told(api: &ApiServer, expected: &[[&str; 3]]) {
    let expected: Vec<_> =
        expected.iter().map(|[policy, who, why]| ((*policy).into(), (*who).into(), (*why).into())).collect();
    let mut last = Vec::new();
    wait_until(&format!("{expected:?} are told"), WITHIN, || {
        last = told(api);
        assert!(last.len() <= expected.len(), "{last:?}");
        last == expected
    });
}

/// A policy that this server takes, though no pod has a label with such a value. Later ones do not.
fn bad(name: &str, value: &str) -> String {
    let values = vec![format!("'{value}'"); 40].join(", ");
    let spec =
        format!("{{podSelector: {{matchExpressions: [{{key: app, operator: In, values: [{values}]}}]}}}}");
    policy(&format!("shop/{name}"), &spec)
}

#[test]
fn nodes_share_an_event_that_the_server_takes() {
    let _turn = Turn::shared();
    let node = Node::new();
    let api = ApiServer::start(&node.space);
    api.client().apply(&manifest::namespace("shop"));
    // As long as it may be; the Event's name and its reporter have to be cut, and so has what it says.
    let shared = format!("a-shared-{}", "x".repeat(244));
    let first = format!("node-1.{}", "n".repeat(200));
    let cut = &first[..128];
    api.client().apply(&bad(&shared, "no value"));
    api.client().apply(&policy("shop/b-own", "{podSelector: {}}"));
    let mut nodes = Nodes { followers: Vec::new(), dir: tempfile::tempdir().expect("a directory") };
    nodes.add(&node, &api, &first);
    until_told(&api, &[[&shared, cut, "PodsIsolated"]]);
    // The one node has seen the other policy when it was good; the next will not have.
    api.client().apply(&bad("b-own", "no value"));
    let by_first = [[shared.as_str(), cut, "PodsIsolated"], ["b-own", cut, "LastGoodApplied"]];
    until_told(&api, &by_first);

    // Each tells them in order of their names: with the second, the first has been told.
    nodes.add(&node, &api, "node-2");
    until_told(&api, &[by_first[0], by_first[1], ["b-own", "node-2", "PodsIsolated"]]);

    // Bad in another way.
    api.client().apply(&bad(&shared, "no value either"));
    wait_until("that is told, too", WITHIN, || {
        let told = told(&api);
        told.iter().filter(|(policy, ..)| *policy == shared).count() == 2
    });
    assert_eq!(told(&api).len(), 4);
}
