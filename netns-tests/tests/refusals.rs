//! What cannot be is refused at once, with exit code 2, the value, and what to do about it; and the
//! box is as it was.

use std::process::Command;

use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::{Finished, finish};
use podgate_netns_tests::{Footprint, Gateway, Node, Turn};

/// Runs the gateway's command line with other words; it must refuse, and say all of `parts`.
#[track_caller]
fn assert_refused(node: &Node, command: &mut Command, parts: &[&str]) {
    let before = Footprint::of(&node.space);
    let Finished { line, code, stdout, stderr } = finish(command);
    assert_eq!(code, 2, "{line}: {stderr}{stdout}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    before.assert_same(&Footprint::of(&node.space));
}

/// `podgate run` in the node's namespace with just these words, and a run directory of its own.
fn run(node: &Node, dir: &tempfile::TempDir, words: &[&str]) -> Command {
    let mut command = node.space.command(podgate());
    command.arg("run").args(words).arg("--run-dir").arg(dir.path().join("run"));
    command.arg("--manifests").arg(dir.path());
    command
}

#[test]
fn bridges_that_are_none() {
    let _turn = Turn::shared();
    let (node, dir) = (Node::with_pods(&["a/one"]), tempfile::tempdir().expect("a directory"));
    assert_refused(&node, &mut run(&node, &dir, &["--bridge", "nosuch0"]), &["nosuch0", "--bridge"]);
    assert_refused(&node, &mut run(&node, &dir, &["--bridge", "lo"]), &["lo is not a bridge", "--bridge"]);
    assert_refused(&node, &mut run(&node, &dir, &[]), &["--bridge"]);
}

#[test]
fn values_that_cannot_be() {
    let _turn = Turn::shared();
    let (node, dir) = (Node::with_pods(&["a/one"]), tempfile::tempdir().expect("a directory"));
    let with = |words: &[&str]| run(&node, &dir, &[&["--bridge", "cni0"], words].concat());
    assert_refused(&node, &mut with(&["--cpus", "4096"]), &["--cpus", "4096"]);
    assert_refused(&node, &mut with(&["--cpus", "one"]), &["--cpus", "one"]);
    assert_refused(&node, &mut with(&["--workers", "0"]), &["--workers 0", "64"]);
    assert_refused(&node, &mut with(&["--workers", "65"]), &["--workers 65", "64"]);
    assert_refused(&node, &mut with(&["--name", "a/b"]), &["--name", "a/b"]);
    assert_refused(&node, &mut with(&["--name", ""]), &["--name"]);
    assert_refused(&node, &mut with(&["--flows", "0"]), &["--flows"]);
    assert_refused(&node, &mut with(&["--flows-per-pod", "0"]), &["--flows-per-pod", "limit nobody"]);
    assert_refused(&node, &mut with(&["--fallback", "ajar"]), &["--fallback", "ajar", "closed", "open"]);
    let mut nowhere = node.space.command(podgate());
    nowhere.args(["run", "--bridge", "cni0", "--manifests", "/nonexistent/manifests", "--run-dir"]);
    assert_refused(&node, nowhere.arg(dir.path().join("run")), &["/nonexistent/manifests"]);
}

#[test]
fn bad_manifests_at_the_start() {
    let _turn = Turn::shared();
    let (node, dir) = (Node::with_pods(&["a/one"]), tempfile::tempdir().expect("a directory"));
    let bad = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: a}\n\
        spec: {podSelector: {}, policyTypes: [Sideways]}\n";
    std::fs::write(dir.path().join("bad.yaml"), format!("{}---\n{bad}", node.manifest())).expect("a file");
    let parts = ["bad.yaml:", "spec.policyTypes[0]", "policyTypes: [Sideways]", "^^^^^^^^", "= help: "];
    assert_refused(&node, &mut run(&node, &dir, &["--bridge", "cni0"]), &parts);
    // Unless it is told to take them (--accept stored), as `podgate verify --live` tells it.
    let bad = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: a}\n\
        spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.5/24}}]}]}\n";
    std::fs::write(dir.path().join("bad.yaml"), format!("{}---\n{bad}", node.manifest())).expect("a file");
    let parts = ["spec.ingress[0].from[0].ipBlock.cidr", "10.0.0.5/24", "write 10.0.0.0/24"];
    assert_refused(&node, &mut run(&node, &dir, &["--bridge", "cni0"]), &parts);
}

#[test]
fn processes_without_capabilities() {
    let _turn = Turn::shared();
    let (node, dir) = (Node::with_pods(&["a/one"]), tempfile::tempdir().expect("a directory"));
    for missing in ["net_admin", "net_raw", "sys_admin"] {
        let mut command = node.space.command("setpriv");
        command.arg("--bounding-set").arg(format!("-{missing}")).arg("--inh-caps").arg(format!("-{missing}"));
        command.arg(podgate()).args(["run", "--bridge", "cni0", "--run-dir"]).arg(dir.path().join("run"));
        command.arg("--manifests").arg(dir.path());
        let name = format!("CAP_{}", missing.to_uppercase());
        assert_refused(&node, &mut command, &[&name, "root"]);
    }
}

#[test]
fn a_second_gateway_of_the_same_name() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one"]);
    let gateway = Gateway::start(&node, "", &[]);
    let name = gateway.instance.name.clone();
    let pid = gateway.pid().to_string();
    assert_refused(&node, &mut gateway.command(), &[&name, "is running", &pid, "--name"]);
    assert!(gateway.instance.try_status().is_some(), "the first one goes on");
    let detach = finish(&mut gateway.instance.command(&["detach"]));
    assert_eq!(detach.code, 2, "{}", detach.stderr);
    assert!(detach.stderr.contains(&name) && detach.stderr.contains(&pid), "{}", detach.stderr);
}

#[test]
fn nobody_to_ask() {
    let _turn = Turn::shared();
    for words in [&["status"][..], &["observe"]] {
        let finished = finish(Command::new(podgate()).args(words).args(["--name", "nobody-there"]));
        assert_eq!(finished.code, 2, "{}", finished.stderr);
        for part in ["nobody-there", "--name", "podgate run"] {
            assert!(finished.stderr.contains(part), "{part:?} is not in: {}", finished.stderr);
        }
    }
}
