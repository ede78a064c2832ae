//! Starts that fail, and starts in the wrong place: what was in force stays in force.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::node::BRIDGE;
use podgate_netns_tests::traffic::{DENIED_AFTER, Reach, Server, reach, reach_within};
use podgate_netns_tests::{Footprint, Gateway, Node, Turn, space, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// The gateway's own command, with other values for some options, run to its end.
fn run(gateway: &Gateway, options: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = gateway.command();
    let mut words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    for &(option, value) in options {
        match words.iter().position(|word| word == option) {
            Some(at) => words[at + 1] = value.into(),
            None => words.extend([option.into(), value.into()]),
        }
    }
    command = Command::new(command.get_program());
    finish(command.args(words))
}

fn finish(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("nsenter, unshare (package util-linux)");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn closed(node: &Node) -> bool {
    let (client, server) = (&node.pods[0], &node.pods[1]);
    reach_within(&client.space, server.v4, 80, DENIED_AFTER) == Reach::TimedOut
}

#[test]
fn a_restart_that_fails_leaves_a_held_guard_closed() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let _server = Server::start(node.pod("a/server"), 80);
    let mut gateway = Gateway::start(&node, "", &[]);
    gateway.end(Signal::SIGKILL);
    // The socket cannot be made: the last step of a start.
    let socket = gateway.run_dir().join(&gateway.instance.name).join("api.sock");
    fs::remove_file(&socket).expect("its socket");
    fs::create_dir(&socket).expect("a directory in its place");
    for more in [("--fallback", "open"), ("--on-exit", "detach")] {
        let (code, told) = run(&gateway, &[more]);
        assert_eq!(code, Some(2), "{told}");
        assert_eq!(told.matches("Is a directory").count(), 1, "{told}");
        assert!(closed(&node), "{more:?}");
    }
    fs::remove_dir(&socket).expect("ours");
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client", "a/server"]);
    // What it has asked in vain before, for the server's MAC address, is not to be the answer now.
    node.pod("a/client").space.sh("ip neigh flush dev eth0");
    assert_eq!(reach(&node.pod("a/client").space, node.pod("a/server").v4, 80), Reach::Connected);
}

#[test]
fn a_port_that_goes_while_a_gateway_starts_does_not_keep_it_from_that() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let _server = Server::start(node.pod("a/server"), 80);
    let policies = policy("a/deny", "{podSelector: {}, policyTypes: [Ingress]}");
    let mut gateway = Gateway::prepare(&node, &policies, &[]);
    let ip = |words: &str| {
        let finished = space::finish(node.space.command("ip").args(words.split(' ')));
        assert_eq!(finished.code, 0, "{words}: {}", finished.stderr);
    };
    let plug_in = |name: &str| {
        ip(&format!("link add {name} type veth peer name {name}-pod"));
        ip(&format!("link set {name} master {BRIDGE} up"));
    };
    // As after a boot, and where a gateway has guarded it before.
    plug_in("goes0");
    for start in 0..2 {
        gateway.launch();
        // By then ports have been looked at, and none has been guarded.
        wait_until("it starts", SOON, || gateway.log().matches("flow table").count() > start);
        ip(&format!("link del goes{start}"));
        gateway.instance.wait_for_pods(["a/client", "a/server"]);
        assert!(closed(&node), "start {start}");
        let name = format!("goes{}", start + 1);
        plug_in(&name);
        wait_until("the next is guarded", SOON, || {
            gateway.instance.status().ports.iter().any(|port| port.device == name)
        });
        gateway.end(Signal::SIGTERM);
    }
}

#[test]
fn a_start_that_fails_at_its_last_step_undoes_all() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let before = Footprint::of(&node.space);
    let gateway = Gateway::prepare(&node, "", &[]);
    let dir = gateway.run_dir().join(&gateway.instance.name);
    fs::create_dir_all(dir.join("api.sock")).expect("a directory in its place");
    let (code, told) = run(&gateway, &[]);
    assert_eq!(code, Some(2), "{told}");
    before.assert_same(&Footprint::of(&node.space));
    assert!(!dir.exists() && !gateway.run_dir().join("bpf").exists());
}

#[test]
fn the_guard_of_another_place_is_not_taken_up() {
    let _turn = Turn::shared();
    let (node, other) =
        (Node::with_pods(&["a/client", "a/server"]), Node::with_pods(&["a/client", "a/server"]));
    let _server = Server::start(node.pod("a/server"), 80);
    node.space.sh("ip link add cni1 type bridge");
    let mut gateway = Gateway::start(&node, "", &[]);
    let name = gateway.instance.name.clone();
    // Another instance on the bridge would fight over the head of every chain.
    let (code, told) = run(&gateway, &[("--name", "second")]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains(&format!("--name {name}")) && told.contains("cni0"), "{told}");
    gateway.end(Signal::SIGKILL);
    let (code, told) = run(&gateway, &[("--bridge", "cni1")]);
    assert_eq!(code, Some(2), "{told}");
    for part in ["cni0", "cni1", &format!("podgate detach --name {name}")] {
        assert!(told.contains(part), "{part} in: {told}");
    }
    assert!(closed(&node));
    let elsewhere = format!("--net={}", other.space.netns().path().display());
    let (code, told) =
        finish(Command::new("nsenter").arg(elsewhere).args(gateway.command().get_args().skip(1)));
    assert_eq!(code, Some(2), "{told}");
    assert!(closed(&node));
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client", "a/server"]);
}

#[test]
fn pins_that_would_go_with_the_gateway_are_refused() {
    let _turn = Turn::shared();
    if Path::new("/sys/fs/bpf/podgate").exists() || is_bpffs("/sys/fs/bpf") {
        println!("skipped: this box has a bpf file system, which a mount namespace would share");
        return;
    }
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::prepare(&node, "", &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "nsenter"]).args(gateway.command().get_args());
    let (code, told) = finish(&mut command);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("mount -t bpf bpf /sys/fs/bpf") && told.contains("nsenter"), "{told}");
    assert!(!gateway.run_dir().exists());
}

fn is_bpffs(path: &str) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(path) && line.split(' ').nth(2) == Some("bpf"))
}

#[test]
fn files_are_for_root_alone() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one"]);
    let mut gateway = Gateway::start(&node, "", &[]);
    let dir = gateway.run_dir().join(&gateway.instance.name);
    for path in [&dir, &gateway.pins()] {
        assert_eq!(fs::metadata(path).expect("there").mode() & 0o777, 0o700, "{}", path.display());
    }
    assert_eq!(fs::metadata(dir.join("api.sock")).expect("there").mode() & 0o777, 0o600);
    gateway.end(Signal::SIGTERM);
    gateway.detach();
    // Where others could have put something, nothing is trusted.
    fs::create_dir_all(&dir).expect("a directory");
    Command::new("chmod").arg("0777").arg(&dir).status().expect("chmod");
    let (code, told) = run(&gateway, &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains(&dir.display().to_string()) && told.contains("others than root"), "{told}");
    fs::remove_dir(&dir).expect("ours");
}
