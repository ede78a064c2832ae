//! The lab as a user sees it: up, exec, an edit, observe, down, and nothing left.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podgate_netns_tests::manifest::{self, deny_ingress, policy};
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::finish;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, DENIED_AFTER, Reach, ask_udp, ping, reach, reach_within, reaches_udp,
};
use podgate_netns_tests::{Space, TestLab, Turn, wait_until};

/// `shop/web` and `shop/db`, which answers on 80 (TCP and UDP); addresses are the lab's to give.
fn shop() -> String {
    let pods = [manifest::Pod::new("shop/web", "lab"), manifest::Pod::new("shop/db", "lab").tcp(80).udp(80)];
    manifest::namespace("shop") + &pods.map(|pod| pod.to_string()).concat()
}

#[test]
fn the_first_look_works() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let db = lab.pod("shop/db");
    let name = "shop/db\n";
    for address in [db.v4.to_string(), format!("[{}]", db.v6)] {
        let got = lab.exec("shop/web", &["curl", "-sS", "-m", "5", &format!("http://{address}/")]);
        assert_eq!(got.code, 0, "{}", got.stderr);
        assert!(got.stdout.starts_with(name), "{}", got.stdout);
    }
    let web = lab.pod("shop/web");
    for address in db.addresses() {
        assert_eq!(ask_udp(&web.space, address, 80, ALLOWED_WITHIN).as_deref(), Some(name));
        assert_eq!(ping(&web.space, address, "-c 2 -i 0.05 -W 2").lost(), 0);
        assert_eq!(reach(&lab.node(), address, 80), Reach::Connected);
    }

    lab.apply(&deny_ingress("shop/deny-all"));
    let got = lab.exec("shop/web", &["curl", "-sS", "-m", "1", &format!("http://{}/", db.v4)]);
    assert_eq!(got.code, 28, "curl's own exit code: it timed out; {}", got.stderr);
    assert!(!reaches_udp(&web.space, db.v6, 80, DENIED_AFTER));
    let events = lab.instance.follow(&["--verdict", "dropped"]);
    let event = events.expect_drop("policy-ingress", "shop/web", Some("shop/db"));
    assert_eq!(event.policies, ["shop/deny-all"]);
    let people = lab.instance.ask(&["observe", "--verdict", "dropped"]).stdout;
    for word in ["shop/web", "shop/db", "policy-ingress", "shop/deny-all"] {
        assert!(people.contains(word), "{word} is not in: {people}");
    }
    let allow = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
    lab.apply(&(deny_ingress("shop/deny-all") + &policy("shop/db-from-web", allow)));
    assert_eq!(reach(&web.space, db.v4, 80), Reach::Connected);
}

#[test]
fn an_edit_is_in_force_at_once() {
    let _turn = Turn::alone();
    let lab = TestLab::up(&shop(), "");
    let (web, db) = (lab.pod("shop/web"), lab.pod("shop/db"));
    let mut took = Vec::new();
    for _ in 0..5 {
        assert_eq!(reach(&web.space, db.v4, 80), Reach::Connected);
        lab.write("policies.yaml", &deny_ingress("shop/deny-all"));
        let start = Instant::now();
        wait_until("the edit is felt", ALLOWED_WITHIN, || {
            !reaches_udp(&web.space, db.v4, 80, Duration::from_millis(20))
        });
        took.push(start.elapsed());
        lab.apply("");
    }
    println!("edits were felt within {took:?}, 20 ms of each waiting for an answer");
}

#[test]
fn going_down_leaves_nothing_even_after_a_kill() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let pid = Pid::from_raw(lab.instance.status().pid.cast_signed());
    kill(pid, Signal::SIGKILL).expect("the gateway runs");
    let (web, db) = (lab.pod("shop/web"), lab.pod("shop/db"));
    wait_until("the gateway is dead", ALLOWED_WITHIN, || lab.instance.try_status().is_none());
    assert_eq!(reach_within(&web.space, db.v4, 80, DENIED_AFTER), Reach::TimedOut, "closed");
    assert!(!lab.leftovers().is_empty());
    let down = lab.try_down();
    assert_eq!(down.code, 0, "{}", down.stderr);
    lab.assert_gone();
    // `Drop` goes down once more, which is no error.
}

#[test]
fn the_same_lab_twice_is_refused_and_leaves_the_first_alone() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let again = lab.try_up(&[]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    for part in [lab.instance.name.as_str(), "lab down", "--name"] {
        assert!(again.stderr.contains(part), "{part:?} is not in: {}", again.stderr);
    }
    assert_eq!(reach(&lab.pod("shop/web").space, lab.pod("shop/db").v4, 80), Reach::Connected);
}

#[test]
fn several_labs_have_nothing_to_do_with_each_other() {
    let _turn = Turn::shared();
    let (one, two) = (TestLab::up(&shop(), &deny_ingress("shop/deny-all")), TestLab::up(&shop(), ""));
    let listed = finish(Command::new(podgate()).args(["lab", "list", "-o", "json"])).stdout;
    for lab in [&one, &two] {
        assert!(listed.contains(&lab.instance.name), "{listed}");
    }
    let ask =
        |lab: &TestLab, at_most| reach_within(&lab.pod("shop/web").space, lab.pod("shop/db").v4, 80, at_most);
    assert_eq!(ask(&one, DENIED_AFTER), Reach::TimedOut);
    assert_eq!(ask(&two, ALLOWED_WITHIN), Reach::Connected);
    drop(one);
    assert_eq!(ask(&two, ALLOWED_WITHIN), Reach::Connected);
}

#[test]
fn a_lab_that_cannot_be_leaves_nothing() {
    let _turn = Turn::shared();
    let lab = TestLab::prepare(
        &shop(),
        "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: x}\nspec: 5\n",
    );
    let up = lab.try_up(&[]);
    assert_eq!(up.code, 2, "{}", up.stderr);
    assert!(up.stderr.contains("policies.yaml"), "{}", up.stderr);
    lab.assert_gone();

    let lab = TestLab::prepare(&shop(), "");
    let up = lab.try_up(&["--cpus", "4096"]);
    assert_eq!(up.code, 2, "{}", up.stderr);
    assert!(up.stderr.contains("4096"), "{}", up.stderr);
    lab.assert_gone();
    assert!(!Space::exists(&format!("pg-{}-node", lab.instance.name)));
}

#[test]
fn exec_passes_on_what_the_program_says() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let said = lab.exec("shop/web", &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (7, "out\n", "err\n"));
    let links = lab.exec("shop/web", &["ip", "-o", "link"]).stdout;
    assert!(links.contains("eth0") && !links.contains("cni0"), "{links}");
    let nobody = lab.exec("shop/nobody", &["true"]);
    assert_eq!(nobody.code, 2, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("shop/nobody"), "{}", nobody.stderr);
}
