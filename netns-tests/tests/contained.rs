//! The gateway as the DaemonSet runs it: in mount and process namespaces of its own, with the capabilities that
//! the manifest adds and no others, little memory that it may lock, and `/proc/sys` read-only.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podgate_netns_tests::space::finish;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Turn, eventually, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// The capabilities that the manifest adds, as setpriv names them.
fn capabilities() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/base/daemonset.yaml");
    let text = std::fs::read_to_string(manifest).expect("the manifest");
    let lines = text.lines().skip_while(|line| line.trim() != "add:").skip(1);
    let added = lines.map_while(|line| line.trim().strip_prefix("- "));
    added.map(|name| name.split(' ').next().unwrap_or(name).to_lowercase()).collect()
}

/// A container, as far as that matters here.
struct Container {
    unshare: Child,
}

impl Container {
    fn start(gateway: &Gateway) -> Self {
        let kept = capabilities();
        assert!(kept.iter().any(|name| name == "net_admin"), "{kept:?}");
        let set: Vec<_> = kept.iter().map(|name| format!("+{name}")).collect();
        let set = format!("-all,{}", set.join(","));
        // As runc does: /proc/sys and /sys are read-only, what is mounted from the host is not.
        let script = format!(
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
             mount --rbind /sys /sys && mount -o remount,bind,ro /sys && \
             exec prlimit --memlock=65536:65536 setpriv --bounding-set={set} --inh-caps={set} -- \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation=private",
            "--pid",
            "--fork",
            "--kill-child=SIGTERM",
            "--mount-proc",
        ]);
        command.args(["sh", "-c", &script, "sh"]);
        let run = gateway.command();
        command.arg(run.get_program()).args(run.get_args());
        let log = std::fs::File::options().create(true).append(true).open(gateway.run_dir().join("../log"));
        let log = log.expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        Self { unshare: command.spawn().expect("unshare (package util-linux)") }
    }

    /// The gateway, which is the first process in there.
    fn gateway(&self) -> Pid {
        let path = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let (pid, _) = eventually("the container's first process", SOON, || {
            std::fs::read_to_string(&path).ok()?.split(' ').next()?.parse().ok()
        });
        Pid::from_raw(pid)
    }

    fn end(mut self, signal: Signal) {
        kill(self.gateway(), signal).expect("it runs");
        eventually("the container ends", SOON, || self.unshare.try_wait().expect("its child"));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Its first process goes with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

#[test]
fn a_container_with_those_capabilities_guards_and_the_next_one_takes_over() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/client"]);
    let gateway = Gateway::prepare(&node, "", &["--listen", "127.0.0.1:9474"]);
    let _server = Server::start(node.pod("shop/web"), 80);
    let web = node.pod("shop/web").v4;
    let client = &node.pod("shop/client").space;
    assert_eq!(reach(client, web, 80), Reach::Connected, "nothing guards yet");

    let guards = || {
        let mut command = node.space.command("curl");
        let answer = finish(command.args(["-s", "-m", "2", "-f", "http://127.0.0.1:9474/readyz"]));
        answer.code == 0
    };
    let first = Container::start(&gateway);
    wait_until("the container is ready", SOON, guards);
    gateway.instance.wait_for_pods(["shop/web", "shop/client"]);
    assert_eq!(reach(client, web, 80), Reach::Connected);
    let status = std::fs::read_to_string(format!("/proc/{}/status", first.gateway())).expect("its status");
    let effective =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities").trim();
    let effective = u64::from_str_radix(effective, 16).expect("a number");
    assert_eq!(effective.count_ones() as usize, capabilities().len(), "{status}");

    let mut conversation = Conversation::open(client, web, 80);
    assert!(conversation.exchange(ALLOWED_WITHIN));

    // A pod of the DaemonSet goes: what it pinned stays, and pods are closed.
    first.end(Signal::SIGTERM);
    assert_eq!(reach_within(client, web, 80, DENIED_AFTER), Reach::TimedOut);

    let second = Container::start(&gateway);
    wait_until("the next container is ready", SOON, guards);
    assert_eq!(reach(client, web, 80), Reach::Connected);
    assert!(conversation.exchange(ALLOWED_WITHIN), "it lives on");
    // A crash, too.
    second.end(Signal::SIGKILL);
    assert_eq!(reach_within(client, web, 80, DENIED_AFTER), Reach::TimedOut);
    let third = Container::start(&gateway);
    wait_until("the one after the crash is ready", SOON, guards);
    assert_eq!(reach(client, web, 80), Reach::Connected);
    third.end(Signal::SIGTERM);
}
