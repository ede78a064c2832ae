//! A node whose pods an API server knows.

use podgate_netns_tests::manifest;
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::{ApiServer, Node};

/// Starts an API server on the node that knows the node, a namespace `bench`, and the node's pods by their IPv4
/// addresses.
pub fn api_of(node: &Node) -> ApiServer {
    let api = ApiServer::start(&node.space);
    let client = api.client();
    client.apply(&manifest::node(NODE_NAME, &[Node::V4.into(), Node::V6.into()]));
    client.apply(&manifest::namespace("bench"));
    for pod in &node.pods {
        client.apply(&manifest::Pod::new(&pod.key, NODE_NAME).address(pod.v4.into()).to_string());
    }
    api
}
