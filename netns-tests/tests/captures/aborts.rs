//! Connections that end badly, late, twice or not at all.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use podgate_netns_tests::frame::Wire;
use podgate_netns_tests::{Pod, Turn};

use crate::http::Http;
use crate::sockets::{SOON, abort, connect_from, drain, listen, pair, say};
use crate::{Replayed, ends, two_pods};

/// An address that the server gets late.
const LATE: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 200);

#[test]
fn ends_of_all_kinds_are_admitted() {
    let _turn = Turn::shared();
    let node = two_pods();
    let (client, server) = (&node.pods[0], &node.pods[1]);
    let replayed = Replayed::record(&node.space, &client.port, || {
        aborted(client, server);
        killed(client, server);
        for _ in 0..2 {
            let refused = connect_from(&client.space, server.v4, 9100, Some(20_100));
            assert_eq!(refused.map(drop), Err(nix::Error::ECONNREFUSED));
        }
        answered_late(client, server);
        half_closed(client, server);
        stalled(client, server);
        used_again(client, server);
    });
    let closed = ["CLOSE"];
    let seen = replayed.ended(9000, 6, &closed);
    assert!(seen.resets >= 6, "{seen:?}");
    let seen = replayed.ended(9001, 3, &closed);
    assert!(seen.resets >= 3 && seen.data >= 3, "{seen:?}");
    let seen = replayed.ended(9100, 1, &closed);
    assert_eq!((seen.syns, seen.resets), (2, 2), "{seen:?}");
    let seen = replayed.ended(9002, 1, &["TIME_WAIT"]);
    assert!(seen.syns >= 2, "{seen:?}");
    let seen = replayed.ended(9003, 2, &["TIME_WAIT"]);
    assert!(seen.data >= 40, "{seen:?}");
    let seen = replayed.ended(9004, 1, &["TIME_WAIT"]);
    assert!(seen.zero_windows >= 4 && seen.probes >= 3, "{seen:?}");
    let seen = replayed.ended(9005, 1, &["TIME_WAIT", "CLOSE"]);
    assert_eq!(seen.syns, 5, "{seen:?}");
    replayed.assert_forwarded(&ends(&node, Some(LATE.into())));
}

/// Either end aborts: at once, in the middle, and with much of it under way.
fn aborted(client: &Pod, server: &Pod) {
    let listener = listen(&server.space, 9000);
    for said in [0, 1, 200_000] {
        for by_client in [true, false] {
            let (one, other) = pair(&listener, &client.space, server.v4, None);
            let (one, mut other) = if by_client { (one, other) } else { (other, one) };
            other.set_nonblocking(true).expect("non-blocking");
            // As much as fits.
            let _ = other.write(&vec![0; said]);
            abort(one);
            other.set_nonblocking(false).expect("blocking");
            // Until the reset is there.
            let mut byte = [0];
            let _ = std::io::Read::read(&mut other, &mut byte);
        }
    }
}

/// A client is killed while it is sent something.
fn killed(client: &Pod, server: &Pod) {
    let http = Http::serve(&server.space, 9001, 3);
    for _ in 0..3 {
        let mut command = client.space.command("curl");
        command.args(["-sS", "--limit-rate", "200k", "-o", "/dev/null"]);
        command.arg(format!("http://{}:9001/100000000", server.v4));
        let wire = Wire::open(&client.space, "eth0");
        let mut curl = command.stdin(Stdio::null()).spawn().expect("curl (package curl)");
        let mut large = 0;
        let under_way = wire.find(SOON, |frame| {
            large += usize::from(frame.len() > 1000);
            (large > 3).then_some(())
        });
        assert!(under_way.is_some(), "it is sent something");
        curl.kill().expect("SIGKILL");
        curl.wait().expect("it is over");
    }
    http.join();
}

/// A SYN is repeated until somebody has the address.
fn answered_late(client: &Pod, server: &Pod) {
    let mac = server.mac.0.map(|byte| format!("{byte:02x}")).join(":");
    client.space.sh(&format!("ip neigh replace {LATE} lladdr {mac} dev eth0 nud permanent"));
    let listener = listen(&server.space, 9002);
    let wire = Wire::open(&client.space, "eth0");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| connect_from(&client.space, LATE, 9002, None));
        let mut asked = 0;
        let unanswered = wire.find(SOON, |frame| {
            asked += usize::from(frame.get(36..38) == Some(&9002_u16.to_be_bytes()[..]));
            (asked == 2).then_some(())
        });
        assert!(unanswered.is_some(), "it asks again");
        server.space.sh(&format!("ip addr add {LATE}/16 dev eth0"));
        let mut stream = asking.join().expect("a thread").expect("a connection");
        let (mut other, _) = listener.accept().expect("the other end");
        say(&mut stream, &mut other, b"at last");
        drop(stream);
        assert_eq!(drain(&mut other), 0);
    });
}

/// One end has said all, and the other goes on for long.
fn half_closed(client: &Pod, server: &Pod) {
    let listener = listen(&server.space, 9003);
    for by_client in [true, false] {
        let (one, other) = pair(&listener, &client.space, server.v4, None);
        let (mut one, mut other) = if by_client { (one, other) } else { (other, one) };
        say(&mut one, &mut other, b"that is all");
        one.shutdown(Shutdown::Write).expect("FIN");
        assert_eq!(drain(&mut other), 0);
        for _ in 0..20 {
            say(&mut other, &mut one, &[7; 3000]);
        }
        drop(other);
        assert_eq!(drain(&mut one), 0);
    }
}

/// A reader stops until its window is closed and probed, and then reads on.
fn stalled(client: &Pod, server: &Pod) {
    let listener = listen(&server.space, 9004);
    let (mut reader, mut writer) = pair(&listener, &client.space, server.v4, None);
    writer.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let mut written = 0;
    loop {
        match writer.write(&[1; 16_384]) {
            Ok(length) => written += length as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    // The window stands 34 bytes into a frame without options of IP: 14 + 20 + 14.
    let wire = Wire::open(&client.space, "eth0");
    let mut closed = 0;
    let probed = wire.find(SOON, |frame| {
        let is_answer = frame.get(34..36) == Some(&reader.local_addr().ok()?.port().to_be_bytes()[..]);
        closed += usize::from(is_answer && frame.get(48..50) == Some(&[0, 0][..]));
        (closed == 3).then_some(())
    });
    assert!(probed.is_some(), "it is probed");
    std::thread::scope(|scope| {
        scope.spawn(move || drop(writer));
        assert_eq!(drain(&mut reader), written);
    });
}

/// The same ports, again and again: while the server waits for stragglers, and after resets.
fn used_again(client: &Pod, server: &Pod) {
    let listener = listen(&server.space, 9005);
    let meet = || pair(&listener, &client.space, server.v4, Some(20_500));
    for _ in 0..3 {
        let (mut one, mut other): (TcpStream, TcpStream) = meet();
        say(&mut one, &mut other, b"once");
        // Who closes first is the one that waits.
        drop(other);
        assert_eq!(drain(&mut one), 0);
    }
    let (one, mut other) = meet();
    abort(one);
    assert!(std::io::Read::read(&mut other, &mut [0]).is_err());
    let (mut one, mut other) = meet();
    say(&mut one, &mut other, b"for the last time");
    drop(other);
    assert_eq!(drain(&mut one), 0);
}
