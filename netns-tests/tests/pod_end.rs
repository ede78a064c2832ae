//! A pod that ends leaves neither rights nor flows to the next that has its address.

use nix::sys::signal::Signal;
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, Talker, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Pod, Space, Turn, wait_until};

/// How the pod `shop/old` makes way for `shop/new`, which gets its addresses.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    /// It has succeeded; its manifest, its namespace and its device are still there.
    Succeeded,
    /// It has failed, likewise.
    Failed,
    /// Its manifest and its device are gone.
    Gone,
    /// What was its device is said to be the other pod's.
    Relabelled,
}

/// When it does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum When {
    Running,
    /// While no gateway runs; the next one takes over the flows.
    Between,
}

/// `shop/old` may talk with everybody. `shop/new` may ask `shop/peer` on 9090 and be asked on 8080.
fn rights() -> String {
    policy(
        "shop/new",
        "{podSelector: {matchLabels: {app: new}}, policyTypes: [Ingress, Egress], \
         ingress: [{from: [{podSelector: {matchLabels: {app: peer}}}], ports: [{protocol: UDP, port: 8080}]}], \
         egress: [{to: [{podSelector: {matchLabels: {app: peer}}}], ports: [{protocol: UDP, port: 9090}]}]}",
    )
}

/// Something beyond the gateway, at an address that is no pod's.
fn outside(node: &Node) -> Space {
    let space = Space::create(&format!("{}-out", node.space.name()));
    node.space.ip_batch(&format!(
        "link add out0 type veth peer name eth0 netns {}\nlink set out0 master cni0 up\n",
        space.name()
    ));
    space.ip_batch("addr add 10.44.99.9/16 dev eth0\nlink set eth0 up\n");
    space
}

/// Makes `old` end; returns where the next one is.
fn replace(node: &mut Node, end: End) -> Option<Pod> {
    let old = node.pod("shop/old");
    let (v4, v6) = (old.v4, old.v6);
    let old = match end {
        End::Relabelled => return None,
        // What still has the address does not answer for it.
        End::Succeeded | End::Failed => None,
        End::Gone => Some(node.remove("shop/old")),
    };
    node.attach("shop/new", &[v4.into(), v6.into()]);
    old
}

fn manifest(node: &Node, end: End) -> String {
    let text = node.manifest();
    let old = |node: &Node| manifest::Pod::of(node.pod("shop/old"), NODE_NAME);
    match end {
        End::Gone => text,
        End::Relabelled => {
            let new = manifest::Pod::new("shop/new", NODE_NAME);
            let addresses = node.pod("shop/old").addresses();
            let new = addresses.into_iter().fold(new, manifest::Pod::address);
            text.replace(&old(node).to_string(), &new.to_string())
        }
        End::Succeeded => text.replace(&old(node).to_string(), &old(node).phase("Succeeded").to_string()),
        End::Failed => text.replace(&old(node).to_string(), &old(node).phase("Failed").to_string()),
    }
}

fn check(end: End, when: When, mode: &str) {
    let said = format!("{end:?}, {when:?}, {mode}");
    println!("{said}");
    let mut node = Node::with_pods(&["shop/old", "shop/peer"]);
    let beyond = outside(&node);
    let options = ["--live-connections", mode, "--except", "out0", "--pickup-grace", "1ms"];
    let mut gateway = Gateway::start(&node, &rights(), &options);
    let (old_space, peer_space) = {
        let (old, peer) = (node.pod("shop/old"), node.pod("shop/peer"));
        (Space::open(old.space.name()), Space::open(peer.space.name()))
    };
    let (address, v6) = (node.pod("shop/old").v4, node.pod("shop/old").v6);
    let (peer_v4, peer_v6) = (node.pod("shop/peer").v4, node.pod("shop/peer").v6);
    let out_v4 = std::net::Ipv4Addr::new(10, 44, 99, 9);

    // Flows of the old one: asked by the peer and from outside, and asking them.
    let peer = [Talker::open(&peer_space, 5000), Talker::open(&peer_space, 7000)];
    let out = [Talker::open(&beyond, 5000), Talker::open(&beyond, 7000)];
    let old = [Talker::open(&old_space, 80), Talker::open(&old_space, 6000)];
    let server = Server::start(node.pod("shop/old"), 81);
    let mut talk = Conversation::open(&peer_space, address, 81);
    let remotes_speak = |word: u8| {
        peer[0].say(word, address, 80);
        peer[0].say(word + 1, v6, 80);
        peer[1].say(word + 2, address, 6000);
        peer[1].say(word + 3, v6, 6000);
        out[0].say(word + 4, address, 80);
        out[1].say(word + 5, address, 6000);
    };
    let local_speaks = |local: &[Talker; 2], word: u8| {
        local[0].say(word, peer_v4, 5000);
        local[0].say(word + 1, peer_v6, 5000);
        local[1].say(word + 2, peer_v4, 7000);
        local[1].say(word + 3, peer_v6, 7000);
        local[0].say(word + 4, out_v4, 5000);
        local[1].say(word + 5, out_v4, 7000);
    };
    let heard = |talkers: [&[Talker; 2]; 2]| -> Vec<u8> {
        let mut words: Vec<_> = talkers.into_iter().flatten().flat_map(Talker::heard).collect();
        words.sort_unstable();
        words
    };
    let none: [Talker; 2] = [Talker::open(&beyond, 1), Talker::open(&beyond, 2)];
    let mut so_far = [std::collections::BTreeSet::new(), std::collections::BTreeSet::new()];
    wait_until("everybody has heard everybody", ALLOWED_WITHIN, || {
        remotes_speak(10);
        local_speaks(&old, 20);
        so_far[0].extend(heard([&old, &none]));
        so_far[1].extend(heard([&peer, &out]));
        so_far[0].len() == 6 && so_far[1].len() == 6
    });
    assert!(talk.exchange(ALLOWED_WITHIN));

    if when == When::Between {
        assert!(gateway.end(Signal::SIGTERM).success());
    }
    let _old_pod = replace(&mut node, end);
    gateway.write("cluster.yaml", &manifest(&node, end));
    if when == When::Between {
        gateway.launch();
    }
    gateway.instance.wait_for_pods(["shop/new", "shop/peer"]);
    let new_space = match end {
        End::Relabelled => Space::open(old_space.name()),
        _ => Space::open(node.pod("shop/new").space.name()),
    };
    let new = match end {
        End::Relabelled => old,
        _ => [Talker::open(&new_space, 80), Talker::open(&new_space, 6000)],
    };
    // Who still knows the old one's MAC address asks again.
    for space in [&peer_space, &beyond] {
        space.sh("ip neigh flush dev eth0");
    }
    // What was on its way, and what had been opened before the new one was bound, is over.
    heard([&new, &none]);
    heard([&peer, &out]);

    // The new one's own rights, from ports of their own, which also lets everybody resolve everybody.
    let (asker, asked) = (Talker::open(&new_space, 9000), Talker::open(&new_space, 8080));
    let (peer_asked, peer_asker) = (Talker::open(&peer_space, 9090), Talker::open(&peer_space, 8000));
    let mut right = [false; 4];
    wait_until("the new one's own rights hold", ALLOWED_WITHIN, || {
        remotes_speak(30);
        local_speaks(&new, 40);
        asker.say(1, peer_v4, 9090);
        asker.say(2, peer_v6, 9090);
        peer_asker.say(3, address, 8080);
        peer_asker.say(4, v6, 8080);
        let (to_peer, to_new) = (peer_asked.heard(), asked.heard());
        right[0] |= to_peer.contains(&1);
        right[1] |= to_peer.contains(&2);
        right[2] |= to_new.contains(&3);
        right[3] |= to_new.contains(&4);
        right == [true; 4]
    });
    // An answer on a flow of its own.
    wait_until("it is answered", ALLOWED_WITHIN, || {
        asker.say(1, peer_v4, 9090);
        peer_asked.say(5, address, 9000);
        asker.heard().contains(&5)
    });
    for word in [50, 70] {
        remotes_speak(word);
        local_speaks(&new, word + 10);
    }
    assert!(!talk.exchange(DENIED_AFTER), "{said}: a connection of the old one lives on");
    assert_eq!(heard([&new, &none]), [0_u8; 0], "{said}: the new one hears what was for the old one");
    assert_eq!(heard([&peer, &out]), [0_u8; 0], "{said}: the new one speaks on the old one's flows");
    drop(server);
}

#[test]
fn an_address_that_passes_to_another_pod_carries_nothing() {
    let _turn = Turn::shared();
    for end in [End::Gone, End::Relabelled] {
        check(end, When::Running, "recheck");
    }
    for end in [End::Succeeded, End::Failed, End::Gone, End::Relabelled] {
        check(end, When::Running, "keep");
    }
}

#[test]
fn nor_does_it_if_no_gateway_runs_meanwhile() {
    let _turn = Turn::shared();
    for end in [End::Succeeded, End::Gone, End::Relabelled] {
        check(end, When::Between, "keep");
    }
}

#[test]
fn a_pod_that_has_ended_owns_nothing() {
    let _turn = Turn::shared();
    for end in [End::Succeeded, End::Failed] {
        let node = Node::with_pods(&["shop/old", "shop/peer"]);
        let gateway = Gateway::start(&node, "", &["--live-connections", "keep"]);
        let (old, peer) = (node.pod("shop/old"), node.pod("shop/peer"));
        let _servers = [Server::start(old, 80), Server::start(peer, 80)];
        let mut talk = Conversation::open(&peer.space, old.v4, 80);
        assert!(talk.exchange(ALLOWED_WITHIN));
        gateway.write("cluster.yaml", &manifest(&node, end));
        wait_until("nobody is behind its port", ALLOWED_WITHIN, || {
            let ports = gateway.instance.status().ports;
            ports.iter().any(|port| port.device == old.port && port.pod.is_none())
        });
        assert!(!talk.exchange(DENIED_AFTER), "{end:?}");
        assert_ne!(reach_within(&peer.space, old.v4, 80, DENIED_AFTER), Reach::Connected, "{end:?}");
        assert_ne!(reach_within(&old.space, peer.v6, 80, DENIED_AFTER), Reach::Connected, "{end:?}");
        let status = gateway.instance.status();
        assert!(status.drops["unknown-endpoint"] > 0, "{:?}", status.drops);
        // The same pod, alive again, is what it was.
        gateway.write("cluster.yaml", &node.manifest());
        gateway.instance.wait_for_pods(["shop/old", "shop/peer"]);
        assert_eq!(reach(&peer.space, old.v4, 80), Reach::Connected, "{end:?}");
    }
}
