//! Exercises that are written for kubectl, typed as they are written.

use podgate_netns_tests::manifest::{deployment, namespace, service};
use podgate_netns_tests::{TestLab, Turn};

const DAEMON: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: daemon, namespace: shop}
spec: {hostNetwork: true, dnsPolicy: Default, containers: [{name: c}]}
";

/// The words of each line.
fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn what_workloads_and_services_have_behind_them_is_shown() {
    let _turn = Turn::shared();
    let web =
        deployment("shop/web", 2) + &service("shop/web", "web", "ports: [{port: 80, targetPort: http}]");
    let web =
        web.replacen("kind: Service\nmetadata: {", "kind: Service\nmetadata: {labels: {tier: entry}, ", 1);
    let plain = service("shop/plain", "web", "ports: [{port: 81, targetPort: http}]");
    let lab = TestLab::prepare(&(namespace("shop") + &web + &plain + DAEMON), "");
    let up = lab.try_up(&[]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    for note in
        ["note: Pod shop/daemon is on its node's network", "note: Pod shop/daemon: dnsPolicy not heeded"]
    {
        assert!(up.stderr.contains(note), "{}", up.stderr);
    }

    let get = |words: &[&str]| lab.lab_ok(&[&["get", "-n", "shop"], words].concat());
    assert_eq!(lines(&get(&["deploy"])), [vec!["NAMESPACE", "NAME", "READY"], vec!["shop", "web", "2/2"]]);
    let addresses: Vec<String> =
        ["shop/web-0", "shop/web-1"].iter().map(|pod| lab.pod(pod).v4.to_string()).collect();
    for kind in ["endpoints", "endpointslices"] {
        let told = get(&[kind]);
        assert!(addresses.iter().all(|address| told.contains(address.as_str())), "{told}");
    }
    let told = get(&["pods,svc"]);
    for name in ["pod/web-0", "pod/web-1", "service/web"] {
        assert!(told.contains(name), "{told}");
    }
    assert!(get(&["all"]).contains("deployment.apps/web"), "{}", get(&["all"]));
    lab.lab_ok(&["scale", "deploy/web", "-n", "shop", "--replicas", "1"]);
    assert!(get(&["deploy", "web"]).contains("1/1"));
    lab.lab_ok(&["label", "pod", "web-0", "-n", "shop", "tier=front"]);
    assert_eq!(lines(&get(&["pods", "-l", "tier in (front,back)"])).len(), 2);
    let told = get(&["svc,ep", "-l", "tier=entry"]);
    assert!(told.contains("service/web") && told.contains("endpoints/web"), "{told}");
    assert!(!told.contains("plain"), "{told}");
    let none = lab.lab(&["get", "pods", "-n", "shop", "-l", "tier=back"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{}", none.stderr);
}

#[test]
fn programs_run_in_pods_that_are_there_and_in_pods_that_come_for_them() {
    let _turn = Turn::shared();
    let web =
        deployment("shop/web", 1) + &service("shop/web", "web", "ports: [{port: 80, targetPort: http}]");
    let lab = TestLab::up(&(namespace("shop") + &web), "");
    let told = lab.lab(&[
        "exec",
        "-it",
        "-n",
        "shop",
        "deploy/web",
        "-c",
        "app",
        "--",
        "curl",
        "-sS",
        "-m",
        "5",
        "http://web/",
    ]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stdout.starts_with("shop/web-0") && told.stderr.contains("container app"), "{told:?}");

    let run = |words: &[&str]| {
        let words =
            [&["run", "tmp", "-n", "shop", "--rm", "-it", "--restart=Never", "--image=busybox", "--"], words];
        lab.lab(&words.concat())
    };
    let told = run(&["curl", "-sS", "-m", "5", "http://web/"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stdout.starts_with("shop/web-0") && told.stdout.contains("namespace: shop"), "{told:?}");
    assert!(told.stderr.contains("pod/tmp created") && told.stderr.contains("pod/tmp deleted"), "{told:?}");
    // Gone whatever became of the program, and the name is free again.
    assert_eq!(run(&["sh", "-c", "exit 7"]).code, 7);
    let pods = lab.lab_ok(&["get", "pods", "-n", "shop"]);
    assert!(!pods.contains("tmp"), "{pods}");
    let kept = lab.lab(&["run", "sleeper", "-n", "shop", "--image=busybox", "--", "sleep", "3600"]);
    assert!(kept.code == 0 && kept.stderr.contains("the command is not run"), "{kept:?}");
    assert_eq!(lab.lab_ok(&["get", "pods", "sleeper", "-n", "shop"]).lines().count(), 2);
}
