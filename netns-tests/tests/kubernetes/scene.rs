//! What every test here starts from.

use std::net::Ipv4Addr;
use std::time::Duration;

use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::traffic::{Server, reaches_udp};
use podgate_netns_tests::{ApiServer, Node, Pod, wait_until};

/// How long anything may take that is to happen.
const WITHIN: Duration = Duration::from_secs(30);
/// How long an answer is waited for at each try.
const TRY: Duration = Duration::from_millis(200);
/// The port that all answer on.
pub const PORT: u16 = 9000;

/// Pods `shop/web`, `shop/db` and `other/guest` on a node, its API server, and a server in `shop/db`.
pub struct Scene {
    // In the order in which they are to go.
    #[expect(dead_code, reason = "answers until it is dropped")]
    server: Server,
    pub api: ApiServer,
    pub node: Node,
}

impl Scene {
    /// All that, and what the API server would say of it.
    pub fn new() -> Self {
        let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
        let api = ApiServer::start(&node.space);
        api.client().apply(&manifest::node(NODE_NAME, &[Node::V4.into(), Node::V6.into()]));
        for namespace in ["shop", "other"] {
            api.client().apply(&manifest::namespace(namespace));
        }
        for pod in &node.pods {
            api.client().apply(&described(pod));
        }
        let server = Server::start(node.pod("shop/db"), PORT);
        Self { server, api, node }
    }

    /// Lets only pods with these labels, in namespaces with those, into `shop/db`.
    pub fn admit_only(&self, name: &str, peer: &str) {
        self.api.client().apply(&admitting(name, peer));
    }

    /// Waits until `from` reaches `shop/db`.
    #[track_caller]
    pub fn until_open(&self, from: &str, why: &str) {
        wait_until(&format!("{from} reaches shop/db: {why}"), WITHIN, || self.reaches(from));
    }

    /// Waits until `from` does not reach `shop/db`.
    #[track_caller]
    pub fn until_closed(&self, from: &str, why: &str) {
        wait_until(&format!("{from} does not reach shop/db: {why}"), WITHIN, || !self.reaches(from));
    }

    /// Whether `from` reaches `shop/db` by a flow of its own.
    pub fn reaches(&self, from: &str) -> bool {
        self.reaches_at(from, self.node.pod("shop/db").v4, PORT)
    }

    /// Whether `from` reaches what answers at an address.
    pub fn reaches_at(&self, from: &str, to: Ipv4Addr, port: u16) -> bool {
        reaches_udp(&self.node.pod(from).space, to, port, TRY)
    }
}

/// A pod as its kubelet describes it. One address: the server of the tests' version keeps no second one.
pub fn described(pod: &Pod) -> String {
    let bare = manifest::Pod::new(&pod.key, NODE_NAME);
    bare.address(pod.v4.into()).to_string()
}

/// A policy that lets only these peers into `shop/db`.
pub fn admitting(name: &str, peer: &str) -> String {
    let spec = format!(
        "{{podSelector: {{matchLabels: {{app: db}}}}, policyTypes: [Ingress], ingress: [{{from: [{peer}]}}]}}"
    );
    policy(&format!("shop/{name}"), &spec)
}
