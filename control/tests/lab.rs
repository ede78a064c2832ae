//! What is in a lab: who reaches whom, and who answers.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};

use common::labs::{Labs, pod, tcp_answer, udp_answer};
use common::{output_in, unique};
use podgate_control::lab::{Attachment, ExternalSpec, Lab, LabHost, LabOptions};
use podgate_control::net::{Netlink, Netns};

fn ping(from: &Netns, to: IpAddr) {
    output_in(from, "ping", &["-c1", "-W2", &to.to_string()]);
}

#[tokio::test]
async fn pods_and_the_node_reach_each_other_whatever_their_addresses() {
    let labs = Labs::new();
    let lab = labs
        .up(&[
            pod("shop/web", &[], &[]),
            pod("shop/db", &["10.0.1.10", "fd12:3456::10"], &[]),
            pod("ops/probe", &["192.168.77.1"], &[]),
            pod("ops/six", &["2001:db8:7::1"], &[]),
        ])
        .await;
    let node = lab.node().expect("the node");
    for from in lab.pods() {
        let inside = lab.netns(&from.reference).expect("its namespace");
        for family in [true, false] {
            let like = |address: &&IpAddr| address.is_ipv4() == family;
            if !from.addresses.iter().any(|address| like(&address)) {
                continue;
            }
            for to in lab.pods().flat_map(|to| to.addresses.iter().filter(like)) {
                ping(&inside, *to);
            }
            for address in lab.node_addresses().iter().filter(like) {
                ping(&inside, *address);
            }
        }
        for address in &from.addresses {
            ping(&node, *address);
        }
    }

    // They met on the bridge: each resolved the other itself, and nothing went by the node.
    let inside = lab.netns("ops/probe").expect("its namespace");
    let neighbours = Netlink::connect_in(&inside).expect("connected").neighbours().await.expect("listed");
    let db = lab.host("shop/db").expect("the pod");
    let learned = neighbours.iter().find(|neighbour| neighbour.address == db.addresses[0]);
    assert_eq!(learned.expect("a neighbour").mac, db.mac);
    lab.down().await.expect("down");
}

#[tokio::test]
async fn what_the_lab_says_of_a_pod_is_what_the_node_finds() {
    let labs = Labs::new();
    let mut big = pod("shop/big", &["10.9.0.1"], &[]);
    big.mtu = Some(9000);
    let lab = labs.up(&[pod("shop/web", &[], &[]), big]).await;
    let netlink = Netlink::connect_in(&lab.node().expect("the node")).expect("connected");
    let bridge = netlink.link_named(lab.bridge()).await.expect("the bridge");
    let ends = netlink.pod_ends(bridge.index).await.expect("found");
    let told: Vec<&LabHost> = lab.pods().collect();
    assert_eq!(ends.len(), told.len());
    for (end, pod) in ends.iter().zip(told) {
        assert_eq!((end.host_index, &end.host_name), (pod.host_index, &pod.host_device));
        assert_eq!((Some(end.peer_mac), end.mtu), (pod.mac, pod.mtu));
        for address in &pod.addresses {
            assert!(end.addresses.contains(address), "{address} in {end:?}");
        }
    }
    assert_eq!(Lab::open_in(&labs, lab.name()).expect("opened"), lab);
    assert_eq!(Lab::list_in(&labs).expect("listed"), [lab.name()]);
}

#[tokio::test]
async fn responders_say_who_they_are_over_every_protocol() {
    let labs = Labs::new();
    let ports = ["80/TCP", "53/UDP", "53/TCP", "7/SCTP"];
    let lab = labs.up(&[pod("shop/web", &[], &ports), pod("shop/client", &[], &[])]).await;
    let client = lab.netns("shop/client").expect("its namespace");
    for address in &lab.host("shop/web").expect("the pod").addresses {
        let at = |port| SocketAddr::new(*address, port);
        let url = format!("http://{}/", at(80));
        let page = output_in(&client, "curl", &["-gsS", "--max-time", "5", &format!("{url}any/path?x=1")]);
        let lines: Vec<&str> = page.lines().collect();
        let from = lab
            .host("shop/client")
            .expect("the pod")
            .addresses
            .iter()
            .find(|own| own.is_ipv4() == address.is_ipv4());
        let from = SocketAddr::new(*from.expect("of that family"), 0).to_string();
        let [name, pod, namespace, seen, path] = lines[..] else { panic!("{page}") };
        assert_eq!(
            (name, pod, namespace, path),
            ("shop/web", "pod: web", "namespace: shop", "path: /any/path?x=1")
        );
        assert!(seen.starts_with(&format!("client: {}", from.trim_end_matches('0'))), "{seen}");
        let head = output_in(&client, "curl", &["-gsSI", "--max-time", "5", &url]);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let posted = ["-gsS", "--max-time", "5", "--data", "name=value", &url];
        assert!(output_in(&client, "curl", &posted).starts_with("shop/web\n"));

        assert_eq!(tcp_answer(&client, at(53), b""), "shop/web\n");
        assert_eq!(tcp_answer(&client, at(53), b"hello"), "shop/web\n");
        assert_eq!(tcp_answer(&client, at(53), &[b'x'; 9000]), "shop/web\n");
        assert_eq!(udp_answer(&client, at(53)), "shop/web\n");
    }
    // From the node too, and a port without a responder is refused at once.
    let web = lab.host("shop/web").expect("the pod").addresses[0];
    let node = lab.node().expect("the node");
    assert_eq!(tcp_answer(&node, SocketAddr::new(web, 80), b""), "shop/web\n");
    let refused = node.run(|| TcpStream::connect(SocketAddr::new(web, 81))).expect("entered");
    assert_eq!(refused.expect_err("refused").kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn external_hosts_are_behind_the_node_or_on_the_bridge() {
    let labs = Labs::new();
    let external = |name: &str, addresses: &[&str], attachment| ExternalSpec {
        name: name.into(),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        ports: vec!["80/TCP".parse().expect("a port")],
        attachment,
    };
    let externals = vec![
        // The second address looks as if it were on the pods' link.
        external("internet", &["198.51.100.7", "10.244.9.9", "2001:db8:99::7"], Attachment::Routed),
        external("uplink", &["203.0.113.5"], Attachment::Bridged),
    ];
    let options = LabOptions { externals, ..labs.options() };
    let pods = [pod("shop/web", &[], &["80/TCP"])];
    let lab = Lab::up(&unique("t"), &pods, &options).await.expect("up");
    let (web, node) = (lab.netns("shop/web").expect("namespace"), lab.node().expect("the node"));
    for host in lab.externals() {
        let outside = lab.netns(&host.reference).expect("its namespace");
        for address in &host.addresses {
            ping(&web, *address);
            ping(&node, *address);
            let answer = tcp_answer(&web, SocketAddr::new(*address, 80), b"");
            assert_eq!(answer, format!("{}\n", host.reference));
        }
        for address in &lab.host("shop/web").expect("the pod").addresses {
            if host.addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4()) {
                ping(&outside, *address);
            }
        }
    }
    let netlink = Netlink::connect_in(&node).expect("connected");
    let bridge = netlink.link_named(lab.bridge()).await.expect("the bridge").index;
    let ports = netlink.links().await.expect("listed").into_iter();
    let ports: BTreeSet<_> = ports.filter(|link| link.master == Some(bridge)).map(|link| link.name).collect();
    assert_eq!(ports, ["pg0", "up1"].map(String::from).into());
    assert_eq!(lab.pods().count(), 1);
}
