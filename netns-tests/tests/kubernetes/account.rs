//! The gateway as a pod of the DaemonSet reaches the API: with the account, the role and the binding of `deploy/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::space::finish;
use podgate_netns_tests::{ApiServer, Gateway, Node, Turn, wait_until};
use serde_json::json;
use tempfile::TempDir;

use crate::scene::Scene;

/// Longer than a token that was read is used before the file is looked at again: a minute.
const WITHIN: Duration = Duration::from_mins(2);

/// What a kubelet mounts into a pod.
struct Account {
    folder: TempDir,
}

impl Account {
    /// Of the pod `pod`, made by what `deploy/` has: nothing else gives it rights.
    fn of(api: &ApiServer, pod: &str) -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/base");
        for file in ["namespace", "serviceaccount", "clusterrole", "clusterrolebinding"] {
            let text = fs::read_to_string(base.join(file).with_extension("yaml")).expect("a manifest");
            api.client().apply(&text);
        }
        let account = Self { folder: tempfile::tempdir().expect("a directory") };
        fs::copy(api.certificate(), account.path("ca.crt")).expect("a certificate");
        fs::write(account.path("namespace"), "podgate-system").expect("a file");
        account.renew(api, pod);
        account
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn token(&self) -> String {
        fs::read_to_string(self.path("token")).expect("a token")
    }

    /// Puts a token of that pod in the place of what there is, in one step.
    fn renew(&self, api: &ApiServer, pod: &str) {
        api.client().apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: podgate-system, name: {pod}}}\n\
             spec: {{serviceAccountName: podgate, containers: [{{name: c, image: any}}]}}\n"
        ));
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod});
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                             "spec": {"boundObjectRef": bound}});
        let at = "/api/v1/namespaces/podgate-system/serviceaccounts/podgate/token";
        let granted = api.client().create(at, request);
        fs::write(self.path("new"), granted["status"]["token"].as_str().expect("a token")).expect("a file");
        fs::rename(self.path("new"), self.path("token")).expect("a file");
    }
}

/// The HTTP status of an answer to who has that token.
fn asked(node: &Node, token: &str, path: &str) -> String {
    let mut command = node.space.command("curl");
    // To curl by its own name, servers answer in another layout, over which one of that age crashes if it was built
    // with a Go of ours.
    command.args(["-A", "test", "-s", "-k", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}"]);
    command.args(["-H", &format!("Authorization: Bearer {token}")]);
    let finished = finish(command.arg(format!("https://{}{path}", ApiServer::ADDRESS)));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished.stdout
}

#[test]
fn with_the_account_of_the_daemon_set_it_reads_all_and_tells_and_may_do_no_more() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let account = Account::of(&scene.api, "podgate-1");
    scene.admit_only("db", "{podSelector: {matchLabels: {app: web}}}");
    // This server takes values of labels that no pod can have.
    let spec = "{podSelector: {matchExpressions: [{key: app, operator: In, values: ['no value']}]}}";
    scene.api.client().apply(&policy("other/bad", spec));
    let mut gateway = Gateway::prepare_as_pod(&scene.node, account.folder.path(), &["--node", NODE_NAME]);
    gateway.launch();
    scene.until_open("shop/web", "it is the peer");
    scene.until_closed("other/guest", "only shop/web is admitted");
    let source = gateway.instance.status().source;
    assert!(source.is_current() && source.endpoints_fallback, "{source:#?}");
    assert_eq!(source.server, Some(format!("https://{}", ApiServer::ADDRESS)));
    let events = || scene.api.client().get("/apis/events.k8s.io/v1/namespaces/other/events");
    wait_until("the bad policy is told", WITHIN, || {
        let event = &events()["items"][0];
        event["regarding"]["name"] == "bad" && event["reportingInstance"] == NODE_NAME
    });
    let wait = |timeout| gateway.instance.ask(&["wait", "--policy", "other/bad", "--timeout", timeout]);
    let refused = wait("0s");
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    for words in
        ["other/bad is not in force on this node as it is written", "no value", "the pods it selects are"]
    {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    scene
        .api
        .client()
        .patch("NetworkPolicy other/bad", json!({"spec": {"podSelector": {"matchExpressions": []}}}));
    let mended = wait("20s");
    assert_eq!(mended.code, 0, "{}", mended.stderr);

    let token = account.token();
    assert_eq!(asked(&scene.node, &token, "/api/v1/pods"), "200");
    for other in ["/api/v1/secrets", "/apis/apps/v1/daemonsets", "/apis/events.k8s.io/v1/events"] {
        assert_eq!(asked(&scene.node, &token, other), "403", "{other}");
    }
}

#[test]
fn a_token_that_is_renewed_is_taken_up() {
    let _turn = Turn::shared();
    let mut scene = Scene::new();
    scene.admit_only("db", "{podSelector: {matchLabels: {app: web}}}");
    let account = Account::of(&scene.api, "podgate-1");
    let mut gateway = Gateway::prepare_as_pod(&scene.node, account.folder.path(), &["--node", NODE_NAME]);
    gateway.launch();
    scene.until_open("shop/web", "it is the peer");
    let first = account.token();
    account.renew(&scene.api, "podgate-2");
    // With its pod, a token ends. Connections that live would live on.
    scene.api.client().delete("Pod podgate-system/podgate-1");
    scene.api.end();
    scene.api.launch(&scene.node.space);
    wait_until("the first token is no longer good", WITHIN, || {
        asked(&scene.node, &first, "/api/v1/pods") == "401"
    });
    scene.admit_only("db", "{namespaceSelector: {matchLabels: {team: other}}}");
    wait_until("changes are followed again", WITHIN, || scene.reaches("other/guest"));
    scene.until_closed("shop/web", "it is no peer any more");
    wait_until("the status says that all is current", WITHIN, || {
        gateway.instance.status().source.is_current()
    });
}
