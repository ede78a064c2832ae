//! A lab that is up is changed as a cluster is: apply, delete, label, scale, run; and nothing of it is
//! left after `lab down`.

use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podgate_netns_tests::manifest::{self, deny_ingress, deployment, policy, service};
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::traffic::{ALLOWED_WITHIN, DENIED_AFTER, Reach, reach, reach_within};
use podgate_netns_tests::{Space, TestLab, Turn, wait_until};

fn shop() -> String {
    let client = manifest::Pod::new("shop/client", "lab").to_string();
    let db = manifest::Pod::new("shop/db", "lab").tcp(80).to_string();
    manifest::namespace("shop") + &client + &db
}

/// Its pods.
fn listed(lab: &TestLab) -> String {
    let list = std::process::Command::new(podgate()).args(["lab", "list"]).output().expect("podgate");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    list.lines().filter(|line| line.starts_with(&lab.instance.name)).collect::<Vec<_>>().join("\n")
}

/// The lines that say what became of objects.
fn said(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("in force") && !line.starts_with("pods that")).collect()
}

#[test]
fn what_is_applied_is_in_force_when_the_command_returns_and_gone_when_it_is_deleted() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let (client, db) = (lab.pod("shop/client"), lab.pod("shop/db"));
    let deny = lab.aside("deny.yaml", &deny_ingress("shop/deny-all"));
    for _ in 0..2 {
        let told = lab.lab_ok(&["apply", "-f", &deny]);
        assert_eq!(said(&told), ["networkpolicy.networking.k8s.io/deny-all created"]);
        assert!(told.contains("in force after "), "{told}");
        assert_eq!(reach_within(&client.space, db.v4, 80, DENIED_AFTER), Reach::TimedOut);
        let told = lab.lab_ok(&["apply", "-f", &deny]);
        assert_eq!(said(&told), ["networkpolicy.networking.k8s.io/deny-all unchanged", "nothing to change"]);
        lab.lab_ok(&["delete", "networkpolicy", "deny-all", "-n", "shop"]);
        assert_eq!(reach(&client.space, db.v4, 80), Reach::Connected);
    }
    // All or nothing.
    let bad = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec: 5\n";
    let bad = lab.aside("bad.yaml", &(deny_ingress("shop/deny-all") + bad));
    let refused = lab.lab(&["apply", "-f", &bad]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("bad.yaml"), "{}", refused.stderr);
    assert_eq!(reach(&client.space, db.v4, 80), Reach::Connected);
    let missing = lab.lab(&["delete", "networkpolicy", "deny-all", "-n", "shop"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("NetworkPolicy shop/deny-all not found"), "{}", missing.stderr);

    // What the user's files hold can be replaced and taken away, and they stay as they are.
    lab.apply(&deny_ingress("shop/mine"));
    assert_eq!(reach_within(&client.space, db.v4, 80, DENIED_AFTER), Reach::TimedOut);
    let open = lab.aside("open.yaml", &policy("shop/mine", "{podSelector: {}, ingress: [{}]}"));
    assert_eq!(
        said(&lab.lab_ok(&["apply", "-f", &open])),
        ["networkpolicy.networking.k8s.io/mine configured"]
    );
    assert_eq!(reach(&client.space, db.v4, 80), Reach::Connected);
    lab.lab_ok(&["delete", "-f", &open]);
    assert_eq!(reach(&client.space, db.v4, 80), Reach::Connected);
    let written = std::fs::read_to_string(lab.manifests().join("policies.yaml")).expect("there");
    assert_eq!(written, deny_ingress("shop/mine"));
}

#[test]
fn pods_come_and_go() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let app =
        deployment("shop/web", 2) + &service("shop/web", "web", "ports: [{port: 80, targetPort: http}]");
    let app = lab.aside("app.yaml", &app);
    let told = lab.lab_ok(&["apply", "-f", &app]);
    assert_eq!(said(&told), ["deployment.apps/web created", "service/web created"]);
    let (web, client) = (lab.service("shop/web"), lab.pod("shop/client"));
    for address in &web {
        assert_eq!(reach(&client.space, *address, 80), Reach::Connected);
    }
    let told = lab.lab_ok(&[
        "run",
        "probe",
        "--image=any",
        "--labels=app=probe,tier=x",
        "-n",
        "ops",
        "--port",
        "9000",
    ]);
    assert_eq!(said(&told), ["pod/probe created"]);
    assert_eq!(reach(&client.space, lab.pod("ops/probe").v6, 9000), Reach::Connected);
    assert_eq!(reach(&lab.pod("ops/probe").space, web[0], 80), Reach::Connected);
    let twice = lab.lab(&["run", "probe", "-n", "ops"]);
    assert!(twice.code == 2 && twice.stderr.contains("already exists"), "{}", twice.stderr);

    // As kubectl names them.
    let exec = |words: &[&str]| lab.lab_ok(&[&["exec"], words].concat());
    for (target, pod) in [
        ("deploy/web", "shop/web-0"),
        ("svc/web", "shop/web-0"),
        ("pod/client", "shop/client"),
        ("db", "shop/db"),
    ] {
        let mine = exec(&["-n", "shop", target, "--", "ip", "-4", "addr", "show", "eth0"]);
        assert!(mine.contains(&format!("inet {}/", lab.pod(pod).v4)), "{target}: {mine}");
    }

    let owned = lab.lab(&["delete", "pod", "web-0", "-n", "shop"]);
    assert!(owned.code == 2 && owned.stderr.contains("belongs to Deployment web"), "{}", owned.stderr);
    let space = lab.pod("shop/web-1").space.name().to_owned();
    let told = lab.lab_ok(&["delete", "-f", &app]);
    assert_eq!(said(&told), ["deployment.apps/web deleted", "service/web deleted"]);
    assert!(!Space::exists(&space));
    let told = lab.lab_ok(&["delete", "ns", "ops"]);
    assert_eq!(said(&told), ["pod/probe deleted", "namespace/ops deleted"]);

    // Other ports, on the same pod.
    let db = lab.pod("shop/db");
    let other = lab.aside("db.yaml", &manifest::Pod::new("shop/db", "lab").tcp(81).to_string());
    assert_eq!(said(&lab.lab_ok(&["apply", "-f", &other])), ["pod/db configured"]);
    assert_eq!(
        (reach(&client.space, db.v4, 81), reach(&client.space, db.v4, 80)),
        (Reach::Connected, Reach::Refused)
    );

    // Files that the lab was made from.
    lab.write("more.yaml", &manifest::Pod::new("shop/more", "lab").tcp(80).to_string());
    assert!(lab.lab_ok(&["sync"]).contains("pods that came: shop/more\n"));
    assert_eq!(reach(&client.space, lab.pod("shop/more").v4, 80), Reach::Connected);
}

#[test]
fn labels_decide_at_once() {
    let _turn = Turn::shared();
    let allow = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
                 dev}}, podSelector: {matchLabels: {role: reader}}}]}]}";
    let lab = TestLab::up(&(shop() + &deployment("dev/app", 1)), &policy("shop/db", allow));
    let (app, db) = (lab.pod("dev/app-0"), lab.pod("shop/db"));
    let reads = |at_most| reach_within(&app.space, db.v4, 80, at_most);
    assert_eq!(reads(DENIED_AFTER), Reach::TimedOut);
    assert_eq!(said(&lab.lab_ok(&["label", "ns", "dev", "team=dev"])), ["namespace/dev labeled"]);
    assert_eq!(reads(DENIED_AFTER), Reach::TimedOut);
    lab.lab_ok(&["label", "pod", "app-0", "-n", "dev", "role=reader"]);
    assert_eq!(reach(&app.space, db.v4, 80), Reach::Connected);
    let refused = lab.lab(&["label", "pod/app-0", "-n", "dev", "role=writer"]);
    assert!(refused.code == 2 && refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    lab.lab_ok(&["label", "pod/app-0", "-n", "dev", "role=writer", "--overwrite"]);
    assert_eq!(reads(DENIED_AFTER), Reach::TimedOut);
    let shown = lab.lab_ok(&["get", "pods", "-A", "--show-labels"]);
    assert!(shown.contains("app=app,role=writer"), "{shown}");
    lab.lab_ok(&["label", "pod", "app-0", "-n", "dev", "role-"]);
    let nothing = lab.lab_ok(&["label", "pod", "app-0", "-n", "dev", "role-"]);
    assert_eq!(said(&nothing), ["pod/app-0 not labeled", "nothing to change"]);
}

#[test]
fn a_kill_in_the_middle_leaves_a_lab_that_can_be_changed_and_taken_down() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&(shop() + &deployment("shop/web", 1)), "");
    let scale = |replicas: u32| {
        let mut command = lab.lab_command(&["scale", "deploy/web", "-n", "shop", "--replicas"]);
        command.arg(replicas.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("podgate")
    };
    let begun = Instant::now();
    assert!(scale(13).wait().expect("waited").success());
    let whole = begun.elapsed();
    for part in 1..6 {
        let mut victim = scale(if part % 2 == 0 { 13 } else { 1 });
        // Not to wait for anything: wherever the kill happens to fall.
        std::thread::sleep(whole * part / 6);
        let _ = victim.kill();
        victim.wait().expect("waited");
        // Whoever comes next finds a lab that is whole.
        let replicas = (part + 2).to_string();
        lab.lab_ok(&["scale", "deploy/web", "-n", "shop", "--replicas", &replicas]);
        let listed = lab.lab_ok(&["get", "pods", "-n", "shop"]);
        assert_eq!(listed.matches(" web-").count() as u32, part + 2, "{listed}");
        let prefix = format!("pg-{}-shop-web-", lab.instance.name);
        let spaces = std::fs::read_dir("/run/netns").expect("there").flatten();
        let spaces = spaces.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count();
        assert_eq!(spaces as u32, part + 2, "namespaces of pods that are none");
    }
    let last = format!("shop/web-{}", 6);
    assert_eq!(reach(&lab.pod("shop/client").space, lab.pod(&last).v4, 8080), Reach::Connected);
    // In the middle once more, and then down: `Drop` looks for what is left.
    let mut victim = scale(20);
    std::thread::sleep(whole / 2);
    let _ = victim.kill();
    victim.wait().expect("waited");
}

#[test]
fn without_a_gateway_nothing_is_changed() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let before = listed(&lab);
    let pid = Pid::from_raw(lab.instance.status().pid.cast_signed());
    kill(pid, Signal::SIGKILL).expect("the gateway runs");
    wait_until("the gateway is dead", ALLOWED_WITHIN, || lab.instance.try_status().is_none());
    let refused = lab.lab(&["run", "more", "-n", "shop"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("no gateway answers"), "{}", refused.stderr);
    assert_eq!(listed(&lab), before);
    assert!(!Space::exists(&format!("pg-{}-shop-more", lab.instance.name)));
}

#[test]
fn two_at_a_time_come_one_after_the_other() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let run = |name: &str| {
        let words = ["run", name, "-n", "shop", "--port", "80"];
        lab.lab_command(&words).stdout(Stdio::null()).spawn().expect("podgate")
    };
    let running = ["a", "b", "c"].map(run);
    for mut child in running {
        assert!(child.wait().expect("waited").success());
    }
    let client = lab.pod("shop/client");
    for pod in ["shop/a", "shop/b", "shop/c"] {
        assert_eq!(reach(&client.space, lab.pod(pod).v4, 80), Reach::Connected, "{pod}");
    }
}
