//! Services in a lab: real programs reach them at their addresses, through the gateway.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podgate_netns_tests::manifest::{self, deny_ingress, deployment, policy, service};
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, ask_udp, reach, reach_within,
};
use podgate_netns_tests::{TestLab, Turn};

/// A Deployment of three behind a Service that calls its ports by name, and a client.
fn shop() -> String {
    [
        manifest::namespace("shop"),
        manifest::Pod::new("shop/client", "lab").to_string(),
        deployment("shop/web", 3),
        service(
            "shop/web",
            "web",
            "ports: [{name: http, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP, targetPort: dns}, \
             {name: talk, port: 7000}]",
        ),
    ]
    .concat()
}

fn url(address: IpAddr) -> String {
    if address.is_ipv4() {
        format!("http://{address}/some/path")
    } else {
        format!("http://[{address}]/some/path")
    }
}

/// The pod that answers curl.
#[track_caller]
fn curl(lab: &TestLab, from: &str, address: IpAddr) -> String {
    let got = lab.exec(from, &["curl", "-gsS", "-m", "5", &url(address)]);
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert!(got.stdout.ends_with("path: /some/path\n"), "{}", got.stdout);
    got.stdout.lines().next().expect("a line").to_owned()
}

#[test]
fn a_service_leads_to_its_pods_by_every_way() {
    let _turn = Turn::shared();
    let nobody = service("shop/nobody", "nobody", "ports: [{port: 80}, {name: u, port: 53, protocol: UDP}]")
        .replace("{port: 80}", "{name: t, port: 80}");
    let headless = service("shop/headless", "web", "clusterIP: None, ports: [{port: 80}]");
    let sticky =
        service("shop/sticky", "web", "sessionAffinity: ClientIP, ports: [{port: 80, targetPort: 8080}]");
    let lab = TestLab::up(&(shop() + &nobody + &headless + &sticky), "");
    let client = lab.pod("shop/client");
    let web = lab.service("shop/web");
    assert_eq!(web.len(), 2, "one of each family: {web:?}");
    for address in &web {
        let answered: BTreeSet<String> = (0..24).map(|_| curl(&lab, "shop/client", *address)).collect();
        assert_eq!(answered, ["shop/web-0", "shop/web-1", "shop/web-2"].map(String::from).into());
        let told = ask_udp(&client.space, *address, 53, ALLOWED_WITHIN).expect("an answer");
        assert!(told.starts_with("shop/web-"), "{told}");
    }

    // Through its Service a pod reaches all, itself among them.
    let answered: BTreeSet<String> = (0..24).map(|_| curl(&lab, "shop/web-0", web[0])).collect();
    assert!(answered.contains("shop/web-0") && answered.len() == 3, "{answered:?}");

    let sticky = lab.service("shop/sticky");
    for address in &sticky {
        let answered: BTreeSet<String> = (0..8).map(|_| curl(&lab, "shop/client", *address)).collect();
        assert_eq!(answered.len(), 1, "{answered:?}");
    }

    for address in lab.service("shop/nobody") {
        assert_eq!(reach(&client.space, address, 80), Reach::Refused, "at once, not after a timeout");
        let drops = lab.instance.follow(&["--verdict", "dropped"]);
        assert_eq!(ask_udp(&client.space, address, 53, DENIED_AFTER), None);
        let drop = drops.expect("the Service has no backend", |event| {
            event.service.as_deref() == Some("shop/nobody") && event.protocol.as_deref() == Some("UDP")
        });
        assert_eq!(drop.reason, "service-no-backend");
    }
    let listed = lab.lab_ok(&["services"]);
    let headless = listed.lines().find(|line| line.contains("headless")).expect("listed");
    assert!(headless.contains("None"), "{listed}");
}

#[test]
fn a_client_reaches_one_backend_by_all_its_names_from_one_port() {
    let _turn = Turn::shared();
    let one = deployment("shop/one", 1);
    let first = service(
        "shop/first",
        "one",
        "ports: [{name: a, port: 7000}, {name: b, port: 7001, targetPort: 7000}]",
    );
    let second = service("shop/second", "one", "ports: [{port: 7000}]");
    let lab = TestLab::up(&(shop() + &one + &first + &second), "");
    let client = lab.pod("shop/client");
    let pod = lab.pod("shop/one-0");
    let server = Server::start(&pod, 7000);
    for family in 0..2 {
        let own = 41_000 + family as u16;
        let (first, second) = (lab.service("shop/first")[family], lab.service("shop/second")[family]);
        let itself: IpAddr = if first.is_ipv4() { pod.v4.into() } else { pod.v6.into() };
        let mut conversations: Vec<Conversation> =
            [(itself, 7000), (first, 7000), (first, 7001), (second, 7000)]
                .into_iter()
                .map(|(to, port)| Conversation::open_from(&client.space, own, to, port))
                .collect();
        for conversation in &mut conversations {
            assert!(conversation.exchange(ALLOWED_WITHIN));
        }
    }
    assert_eq!(server.asked(), 8);
}

#[test]
fn policy_judges_the_pod_and_its_port_and_all_is_told() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let client = lab.pod("shop/client");
    let to_web = |port: u16| {
        policy(
            "shop/client-to-web",
            &format!(
                "{{podSelector: {{matchLabels: {{app: client}}}}, policyTypes: [Egress], egress: [{{to: \
                 [{{podSelector: {{matchLabels: {{app: web}}}}}}], ports: [{{port: {port}}}]}}]}}"
            ),
        )
    };
    let [v4, v6] = lab.service("shop/web")[..] else { panic!("two addresses") };
    lab.apply(&to_web(8080));
    let events = lab.instance.follow(&["--verdict", "forwarded"]);
    for address in [v4, v6] {
        let server = curl(&lab, "shop/client", address);
        let event = events.expect("the connection", |event| {
            event.called == Some((address, 80).into()) && event.source.as_deref() == Some("shop/client")
        });
        assert_eq!((event.destination.as_deref(), event.destination_port), (Some(server.as_str()), 8080));
        assert_eq!(event.service.as_deref(), Some("shop/web"));
        assert_eq!(event.policies, ["shop/client-to-web"]);
    }
    let flows = lab.instance.ask(&["flows", "list"]);
    for word in ["shop/web-", ":8080 as shop/web:80", "shop/client-to-web egress[0]"] {
        assert!(flows.stdout.contains(word), "{word:?} is not in: {}", flows.stdout);
    }

    // The port of the Service is nobody's.
    lab.apply(&to_web(80));
    let drops = lab.instance.follow(&["--verdict", "dropped"]);
    assert_eq!(reach_within(&client.space, v4, 80, DENIED_AFTER), Reach::TimedOut);
    let drop = drops.expect("the drop", |event| event.called == Some((v4, 80).into()));
    assert_eq!((drop.reason.as_str(), drop.destination_port), ("policy-egress", 8080));
}

#[test]
fn without_translation_policy_sees_the_address_of_the_service() {
    let _turn = Turn::shared();
    let closed = policy("shop/closed", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}");
    let lab = TestLab::up_with(&shop(), &closed, &["--services", "off"]);
    let client = lab.pod("shop/client");
    let web = lab.service("shop/web")[0];
    let drops = lab.instance.follow(&["--verdict", "dropped"]);
    assert_eq!(reach_within(&client.space, web, 80, DENIED_AFTER), Reach::TimedOut);
    let drop = drops.expect_drop("policy-egress", "shop/client", None);
    assert_eq!((drop.destination_ip, drop.destination_port), (Some(web.to_string()), 80));
    assert_eq!((drop.called, drop.service), (None, None));
}

#[test]
fn scaling_leaves_connections_to_pods_that_stay_alone() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let client = lab.pod("shop/client");
    let web = lab.service("shop/web")[0];
    let servers = ["shop/web-0", "shop/web-1", "shop/web-2"].map(|pod| Server::start(&lab.pod(pod), 7000));
    let mut conversations: Vec<Conversation> = Vec::new();
    while servers[0].asked() < 3 {
        let before = servers[0].asked();
        let conversation = Conversation::open(&client.space, web, 7000);
        if servers[0].asked() > before {
            conversations.push(conversation);
        }
    }
    let went = lab.lab_ok(&["scale", "deploy/web", "-n", "shop", "--replicas", "1"]);
    assert!(went.contains("deployment.apps/web scaled\npods that went: shop/web-1 shop/web-2\n"), "{went}");
    for conversation in &mut conversations {
        assert!(conversation.exchange(ALLOWED_WITHIN), "one backend went, and others' connections with it");
    }
    for _ in 0..6 {
        assert_eq!(curl(&lab, "shop/client", web), "shop/web-0");
    }
    lab.lab_ok(&["scale", "deploy", "web", "-n", "shop", "--replicas", "4"]);
    for conversation in &mut conversations {
        assert!(conversation.exchange(ALLOWED_WITHIN));
    }
    let answered: BTreeSet<String> = (0..40).map(|_| curl(&lab, "shop/client", web)).collect();
    assert_eq!(answered.len(), 4, "{answered:?}");
    assert_eq!(lab.service("shop/web")[0], web, "its address stays");
    lab.apply(&deny_ingress("shop/deny"));
    assert_eq!(reach_within(&client.space, web, 80, DENIED_AFTER), Reach::TimedOut);
}
