//! Programs that everybody uses, and a long interactive connection.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use podgate_netns_tests::traffic::IperfServer;
use podgate_netns_tests::{Node, Turn};

use crate::http::Http;
use crate::sockets::{listen, pair, say};
use crate::{Replayed, ends, two_pods};

/// Set for some of the connections.
const ALL_OPTIONS: [&str; 3] = ["tcp_window_scaling", "tcp_timestamps", "tcp_sack"];

#[track_caller]
fn curl(node: &Node, words: &str) {
    node.pods[0].space.sh(&format!("curl -sS -o /dev/null {words}"));
}

#[track_caller]
fn set(node: &Node, knob: &str, value: u32) {
    for pod in &node.pods {
        pod.space.sh(&format!("sysctl -qw net.ipv4.{knob}={value}"));
    }
}

#[test]
fn curl_is_admitted() {
    let _turn = Turn::shared();
    let node = two_pods();
    let (client, server) = (&node.pods[0], &node.pods[1]);
    let replayed = Replayed::record(&node.space, &client.port, || {
        for (address, port) in server.addresses().into_iter().zip([8000, 8001]) {
            let http = Http::serve(&server.space, port, 5);
            for length in [0, 1, 1448, 100_000, 5_000_000] {
                curl(&node, &format!("http://{}/{length}", std::net::SocketAddr::new(address, port)));
            }
            http.join();
        }
        let url = |port: u16, length: u32| format!("http://{}:{port}/{length}", server.v4);
        // One connection for all.
        let http = Http::serve(&server.space, 8002, 1);
        curl(&node, &vec![url(8002, 30_000); 20].join(" -o /dev/null "));
        http.join();
        // Eight at a time.
        let http = Http::serve(&server.space, 8003, 8);
        curl(
            &node,
            &format!(
                "-Z --parallel-max 8 --parallel-immediate {}",
                vec![url(8003, 300_000); 8].join(" -o /dev/null ")
            ),
        );
        http.join();
        // Upwards, behind a question whether to.
        let http = Http::serve(&server.space, 8004, 1);
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(3_000_000).expect("a file");
        curl(&node, &format!("-H Expect:100-continue -T {} {}", file.path().display(), url(8004, 5)));
        http.join();
        // With data on the SYN, once there is a cookie (RFC 7413).
        set(&node, "tcp_fastopen", 0x403);
        let http = Http::serve(&server.space, 8005, 3);
        for _ in 0..3 {
            curl(&node, &format!("--tcp-fastopen {}", url(8005, 20_000)));
        }
        http.join();
        // Every SYN answered with a cookie that was kept nowhere (RFC 4987, 3.6).
        set(&node, "tcp_syncookies", 2);
        let http = Http::serve(&server.space, 8006, 3);
        for _ in 0..3 {
            curl(&node, &url(8006, 200_000));
        }
        http.join();
        set(&node, "tcp_syncookies", 1);
        for (port, option) in (8007..).zip(ALL_OPTIONS) {
            set(&node, option, 0);
            let http = Http::serve(&server.space, port, 2);
            for length in [10, 1_000_000] {
                curl(&node, &url(port, length));
            }
            http.join();
        }
    });
    // A curl that ends at once resets what is still to come.
    let over = ["TIME_WAIT", "CLOSE", "LAST_ACK"];
    for port in [8000, 8001] {
        let seen = replayed.ended(port, 5, &over);
        assert!(seen.data > 50 && seen.large > 20 && seen.fins >= 10, "{seen:?}");
    }
    let seen = replayed.ended(8002, 1, &over);
    assert!(seen.syns == 1 && seen.data >= 40, "{seen:?}");
    let seen = replayed.ended(8003, 8, &over);
    assert!(seen.syns == 8 && seen.data >= 40, "{seen:?}");
    let seen = replayed.ended(8004, 1, &over);
    assert!(seen.data >= 40, "{seen:?}");
    let seen = replayed.ended(8005, 3, &over);
    assert!(seen.syns_with_data >= 1, "{seen:?}");
    let seen = replayed.ended(8006, 3, &over);
    assert!(seen.syn_acks >= 3 && seen.data >= 12, "{seen:?}");
    for port in [8007, 8008, 8009] {
        let seen = replayed.ended(port, 2, &over);
        assert!(seen.data >= 15, "{seen:?}");
    }
    replayed.assert_forwarded(&ends(&node, None));
}

/// Both ways, one stream and several. Returns how many segments had to be cut by the device.
fn iperf_is_admitted(node: &Node, port: u16, megabytes: u32) -> u64 {
    let (client, server) = (&node.pods[0], &node.pods[1]);
    let _server = IperfServer::start(&server.space, port);
    let replayed = Replayed::record(&node.space, &client.port, || {
        for (to, options) in
            [(server.v4.into(), "-P 4"), (IpAddr::from(server.v6), "-R -P 2"), (server.v4.into(), "--bidir")]
        {
            client
                .space
                .sh(&format!("iperf3 -c {to} -p {port} -n {megabytes}M {options} --connect-timeout 5000"));
        }
    });
    // Each run has a connection for control, and what is in flight at its end is reset.
    let seen = replayed.ended(port, 5 + 3 + 3, &["TIME_WAIT", "CLOSE", "LAST_ACK", "CLOSE_WAIT", "FIN_WAIT"]);
    assert!(seen.syns >= 11 && seen.data > 500, "{seen:?}");
    replayed.assert_forwarded(&ends(node, None));
    seen.large
}

#[test]
fn iperf_is_admitted_with_offloads() {
    let _turn = Turn::alone();
    let large = iperf_is_admitted(&two_pods(), 5201, 40);
    assert!(large > 500, "{large} segments that the device is to cut");
}

#[test]
fn iperf_is_admitted_without_offloads() {
    let _turn = Turn::alone();
    let node = two_pods();
    for pod in &node.pods {
        pod.space.sh("ethtool -K eth0 tx off tso off gso off gro off");
        node.space.sh(&format!("ethtool -K {} tso off gso off gro off", pod.port));
    }
    assert_eq!(iperf_is_admitted(&node, 5201, 8), 0);
}

/// A terminal: keys, echoes, a screen now and then, pauses long enough for delayed acknowledgements
/// and for keepalive probes.
#[test]
fn an_interactive_connection_is_admitted() {
    let _turn = Turn::shared();
    let node = two_pods();
    let (client, server) = (&node.pods[0], &node.pods[1]);
    let replayed = Replayed::record(&node.space, &client.port, || {
        let listener = listen(&server.space, 2222);
        let (mut terminal, mut shell) = pair(&listener, &client.space, server.v4, None);
        setsockopt(&terminal, sockopt::KeepAlive, &true).expect("keepalive");
        setsockopt(&terminal, sockopt::TcpKeepIdle, &1).expect("keepalive");
        setsockopt(&terminal, sockopt::TcpKeepInterval, &1).expect("keepalive");
        for line in 0..40 {
            for key in 0..10_u8 {
                say(&mut terminal, &mut shell, &[b'a' + key; 36]);
                say(&mut shell, &mut terminal, &[b'a' + key; 36]);
            }
            if line % 8 == 0 {
                say(&mut shell, &mut terminal, &[b'#'; 16_000]);
            }
            // The pauses are what is tried here.
            sleep(Duration::from_millis(if line == 20 { 2_500 } else { 60 }));
        }
    });
    let seen = replayed.ended(2222, 1, &["TIME_WAIT", "LAST_ACK", "CLOSE_WAIT"]);
    assert!(seen.data >= 800 && seen.probes >= 1 && seen.fins >= 1, "{seen:?}");
    replayed.assert_forwarded(&ends(&node, None));
}
