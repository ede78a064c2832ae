//! Services of a server that tells their endpoints in the old way.

use std::net::Ipv4Addr;

use podgate_netns_tests::{Gateway, Turn, wait_until};

use crate::scene::{PORT, Scene};

#[test]
fn a_service_whose_server_has_endpoints_only_is_reached() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let _gateway = Gateway::of_api(&scene.node, &scene.api, &[]);
    let address = Ipv4Addr::new(10, 96, 7, 7);
    let db = scene.node.pod("shop/db").v4;
    scene.api.client().apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: db}}\n\
         spec: {{clusterIP: {address}, ports: [{{port: 80, targetPort: {PORT}, protocol: UDP}}]}}\n\
         ---\napiVersion: v1\nkind: Endpoints\nmetadata: {{namespace: shop, name: db}}\n\
         subsets: [{{addresses: [{{ip: {db}}}], ports: [{{port: {PORT}, protocol: UDP}}]}}]\n"
    ));
    wait_until("shop/web reaches the Service", std::time::Duration::from_secs(20), || {
        scene.reaches_at("shop/web", address, 80)
    });
    scene.admit_only("db", "{podSelector: {matchLabels: {app: nobody}}}");
    wait_until("policy judges the backend", std::time::Duration::from_secs(20), || {
        !scene.reaches_at("shop/web", address, 80)
    });
}
