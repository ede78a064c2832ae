//! Labs come up, are used and go down again, with nothing left, however they are interrupted.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::labs::{Labs, pod, udp_answer};
use common::{output_in, unique};
use podgate_control::lab::{Lab, LabError, LabOptions, PodSpec, Responders};
use podgate_control::net::{Netlink, Netns};

/// What is left of a lab on the machine: namespaces, mounts, and responders if its name is in theirs.
fn traces(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/run/netns").expect("read") {
        found.push(entry.expect("an entry").path().display().to_string());
    }
    found.extend(fs::read_to_string("/proc/self/mountinfo").expect("read").lines().map(String::from));
    for entry in fs::read_dir("/proc").expect("read") {
        let path = entry.expect("an entry").path().join("cmdline");
        found.push(fs::read_to_string(path).unwrap_or_default().replace('\0', " "));
    }
    found.retain(|trace| trace.contains(name));
    found
}

#[tokio::test]
async fn down_leaves_nothing_and_can_be_repeated() {
    let labs = Labs::new();
    let name = unique("t");
    let pods = [format!("{name}/web"), format!("{name}/db")].map(|pod| self::pod(&pod, &[], &["80/TCP"]));
    let lab = Lab::up(&name, &pods, &labs.options()).await.expect("up");
    let other = labs.up(&[pod("shop/web", &[], &["80/TCP"])]).await;
    // As a gateway does: a process, a device of its own, and a namespace in the lab's directory.
    let mut command = Command::new("sleep");
    command.arg("1000");
    let gateway = lab.spawn_in_node("gateway", command).expect("started").id();
    let node = lab.node().expect("the node");
    output_in(&node, "ip", &["link", "add", "trunk0", "type", "veth", "peer", "name", "trunk1"]);
    Netns::create_at(&lab.directory().join("trunk.netns")).expect("created");
    assert!(!traces(lab.name()).is_empty());

    let devices = Netlink::connect_in(&node).expect("connected");
    lab.down().await.expect("down");
    assert_eq!(traces(lab.name()), [] as [String; 0]);
    assert!(!Path::new(&format!("/proc/{gateway}")).exists());
    assert!(!lab.directory().exists());
    // At once, though the namespace is still held open here.
    let left = devices.links().await.expect("listed");
    assert_eq!(left.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
    lab.down().await.expect("down again");
    assert!(matches!(Lab::open_in(&labs, lab.name()), Err(LabError::NoSuchLab { .. })));

    let url = format!("http://{}/", other.host("shop/web").expect("the pod").addresses[0]);
    let answer = output_in(&other.node().expect("its node"), "curl", &["-sS", "--max-time", "5", &url]);
    assert!(answer.starts_with("shop/web\n"), "another lab is left alone: {answer}");
}

#[tokio::test]
async fn a_failure_half_way_undoes_all() {
    let labs = Labs::new();
    let name = unique("t");
    let pods: Vec<PodSpec> =
        (0..5).map(|number| pod(&format!("{name}/web{number}"), &[], &["80/TCP"])).collect();

    // The kernel refuses the last pod's device.
    let mut broken = pods.clone();
    broken[4].mtu = Some(70_000);
    let error = Lab::up(&name, &broken, &labs.options()).await.expect_err("no such MTU");
    assert!(error.to_string().contains("pg4"), "{error}");
    assert_eq!(traces(&name), [] as [String; 0]);
    assert_eq!(Lab::list_in(&labs).expect("listed"), [] as [String; 0]);

    // A responder that cannot start, after others have.
    let mut broken = pods.clone();
    broken[3].ports = vec!["80/TCP".parse().expect("a port"); 2];
    let error = Lab::up(&name, &broken, &labs.options()).await.expect_err("the port is taken");
    let text = error.to_string();
    assert!(text.contains("/web3") && text.contains("port 80/TCP"), "{text}");
    assert_eq!(traces(&name), [] as [String; 0]);

    // A program that is no responder.
    let options = LabOptions { responders: Responders::Program("/bin/true".into()), ..labs.options() };
    let error = Lab::up(&name, &pods, &options).await.expect_err("no responder");
    assert!(error.to_string().contains("ended without a word"), "{error}");
    let options = LabOptions { responders: Responders::Program("/no/such/program".into()), ..labs.options() };
    let error = Lab::up(&name, &pods, &options).await.expect_err("no program");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    assert_eq!(traces(&name), [] as [String; 0]);

    // And then it works.
    Lab::up(&name, &pods, &labs.options()).await.expect("up").down().await.expect("down");
}

#[tokio::test]
async fn a_lab_is_not_brought_up_twice() {
    let labs = Labs::new();
    let pods = [pod("shop/web", &[], &["80/TCP"])];
    let lab = labs.up(&pods).await;
    let error = Lab::up(lab.name(), &pods, &labs.options()).await.expect_err("up already");
    assert!(matches!(error, LabError::AlreadyUp { .. }), "{error}");
    // The attempt has not hurt it.
    let url = format!("http://{}/", lab.host("shop/web").expect("the pod").addresses[0]);
    let answer = output_in(&lab.node().expect("the node"), "curl", &["-sS", &url]);
    assert!(answer.starts_with("shop/web\n"), "{answer}");

    // A namespace of the same name, but another's, is neither used nor deleted.
    let name = unique("t");
    let others = Netns::create(&format!("pg-{name}-shop-web")).expect("created");
    let lab = Lab::up(&name, &pods, &labs.options()).await.expect("up");
    assert_ne!(lab.host("shop/web").expect("the pod").netns, others.path());
    lab.down().await.expect("down");
    assert!(others.path().exists());
    others.delete().expect("deleted");
}

#[test]
fn a_responder_that_is_not_told_to_stay_ends_by_itself() {
    let output = Command::new(env!("CARGO_BIN_EXE_podgate"))
        .args(["responder", "--supervised", "--pod", "shop/web"])
        .stdin(Stdio::null())
        .output()
        .expect("started");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ready\n");
}

/// Runs as the victim of the test below.
#[tokio::test]
async fn up_for_the_kill() {
    let Ok(labs) = std::env::var("PODGATE_TEST_LABS") else { return };
    let name = std::env::var("PODGATE_TEST_LAB").expect("a name");
    let pods: Vec<PodSpec> =
        (0..30).map(|number| pod(&format!("{name}/web{number}"), &[], &["80/TCP"])).collect();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_podgate"));
    let responders = Responders::Program(program);
    let options = LabOptions { directory: labs.into(), responders, ..LabOptions::default() };
    Lab::up(&name, &pods, &options).await.expect("up");
}

#[tokio::test]
async fn what_a_killed_up_leaves_is_cleared_away() {
    let labs = Labs::new();
    let program = std::env::current_exe().expect("this test");
    let start = |name: &str| {
        Command::new(&program)
            .args(["--exact", "up_for_the_kill"])
            .env("PODGATE_TEST_LABS", &*labs)
            .env("PODGATE_TEST_LAB", name)
            .stdout(Stdio::null())
            .spawn()
            .expect("started")
    };
    let name = unique("t");
    let began = Instant::now();
    assert!(start(&name).wait().expect("waited").success());
    let whole = began.elapsed();
    Lab::down_named(&labs, &name).await.expect("down");

    for part in 1..8 {
        let name = unique("t");
        let mut victim = start(&name);
        // Not to wait for anything: wherever the kill happens to fall.
        std::thread::sleep(whole * part / 8);
        victim.kill().expect("killed");
        victim.wait().expect("waited");
        if labs.join(&name).exists() {
            let found = Lab::open_in(&labs, &name);
            assert!(matches!(found, Ok(_) | Err(LabError::Unfinished { .. })), "{found:?}");
        }
        Lab::down_named(&labs, &name).await.expect("down");
        // Responders that were not recorded yet end by themselves, for nobody told them to stay.
        let until = Instant::now() + Duration::from_secs(10);
        while !traces(&name).is_empty() {
            assert!(Instant::now() < until, "{:?}", traces(&name));
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn down_works_after_its_parts_were_killed_or_deleted() {
    let labs = Labs::new();
    let lab = labs.up(&[pod("shop/web", &[], &["80/TCP"]), pod("shop/db", &[], &["80/TCP"])]).await;
    let killed = lab.host("shop/web").expect("the pod").responder.clone().expect("a responder");
    let kill = Command::new("kill").args(["-9", &killed.pid.to_string()]).status().expect("kill");
    assert!(kill.success());
    Netns::delete_at(&lab.host("shop/db").expect("the pod").netns).expect("deleted");
    Netns::delete_at(lab.node_path()).expect("deleted");
    let error = lab.node().expect_err("deleted");
    assert!(error.to_string().contains("-node"), "{error}");
    lab.down().await.expect("down");
    assert_eq!(traces(lab.name()), [] as [String; 0]);
}

#[tokio::test]
async fn programs_run_inside_and_hold_their_role() {
    let labs = Labs::new();
    let lab = labs.up(&[pod("shop/web", &[], &[])]).await;
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    };
    assert_eq!(lab.exec("shop/web", shell("exit 7")).expect("run").code(), Some(7));
    let mut addresses = shell("ip -o addr show dev eth0");
    addresses.stdout(Stdio::piped());
    let output = lab.spawn_in("shop/web", addresses).expect("started").wait_with_output().expect("waited");
    let own = lab.host("shop/web").expect("the pod").addresses[0].to_string();
    assert!(String::from_utf8_lossy(&output.stdout).contains(&own));
    let unknown = lab.exec("shop/none", shell("true")).expect_err("no such pod");
    assert!(matches!(unknown, LabError::NoSuchHost { .. }), "{unknown}");

    let mut gateway = lab.spawn_in_node("gateway", shell("exec sleep 1000")).expect("started");
    let process = lab.process("gateway").expect("read").expect("running");
    assert_eq!(process.pid, gateway.id());
    let taken = lab.spawn_in_node("gateway", shell("true")).expect_err("one is running");
    assert!(matches!(taken, LabError::RoleTaken { pid, .. } if pid == process.pid), "{taken}");
    lab.stop_in_node("gateway").expect("stopped");
    assert!(gateway.wait().is_err(), "it has been waited for");
    assert_eq!(lab.process("gateway").expect("read"), None);
    lab.spawn_in_node("gateway", shell("exit 0")).expect("started").wait().expect("waited");
    let next = lab.spawn_in_node("gateway", shell("exec sleep 1000"));
    let mut next = next.expect("the role is free again");
    lab.down().await.expect("down");
    assert!(next.wait().is_err(), "it has been stopped and waited for");
}

#[tokio::test]
async fn a_hundred_pods_come_up_in_seconds() {
    let labs = Labs::new();
    let pods: Vec<PodSpec> =
        (0..100).map(|number| pod(&format!("load/pod{number}"), &[], &["80/TCP", "53/UDP"])).collect();
    let began = Instant::now();
    let lab = labs.up(&pods).await;
    let up = began.elapsed();
    let node = lab.node().expect("the node");
    for pod in lab.pods() {
        let answer = udp_answer(&node, SocketAddr::new(pod.addresses[0], 53));
        assert_eq!(answer, format!("{}\n", pod.reference));
    }
    let began = Instant::now();
    lab.down().await.expect("down");
    eprintln!("100 pods: up in {up:?}, down in {:?}", began.elapsed());
    assert!(up < Duration::from_secs(30), "{up:?}");
}
