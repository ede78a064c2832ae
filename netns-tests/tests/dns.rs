//! Names in a lab, as programs in its pods ask for them: with the C library's resolver, curl and dig.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::program::{PATIENCE, podgate};
use podgate_netns_tests::space::{Finished, finish};
use podgate_netns_tests::{TestLab, Turn, wait_until};

/// `shop/web`, `shop/db` behind a Service of another port, and a headless one that is too much for a
/// datagram.
fn shop() -> String {
    let pods = [manifest::Pod::new("shop/web", "lab"), manifest::Pod::new("shop/db", "lab").tcp(8080)];
    let elsewhere =
        manifest::namespace("elsewhere") + &manifest::Pod::new("elsewhere/far", "lab").to_string();
    manifest::namespace("shop") + &pods.map(|pod| pod.to_string()).concat() + &elsewhere + DB + &many()
}

const DB: &str = "---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  clusterIPs: [10.96.7.7, 'fd00:96::77']
  selector: {app: db}
  ports: [{name: http, port: 80, targetPort: 8080}]
";

/// 60 addresses have 960 bytes.
fn many() -> String {
    let endpoints: Vec<String> =
        (1..=60).map(|number| format!("- {{addresses: [192.0.2.{number}]}}\n")).collect();
    let endpoints = endpoints.concat();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many, namespace: shop}}\n\
         spec: {{clusterIP: None, ports: [{{name: http, port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: many-1, namespace: shop, labels: {{kubernetes.io/service-name: many}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints:\n{endpoints}"
    )
}

/// A program in `shop/web`.
#[track_caller]
fn web(lab: &TestLab, line: &str) -> Finished {
    lab.exec("shop/web", &line.split_whitespace().collect::<Vec<_>>())
}

/// What a program in `shop/web` says, sorted; it must end well.
#[track_caller]
fn said(lab: &TestLab, line: &str) -> Vec<String> {
    let finished = web(lab, line);
    assert_eq!(finished.code, 0, "{line}: {}{}", finished.stdout, finished.stderr);
    let mut lines: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Who answers `shop/web` there.
#[track_caller]
fn fetched(lab: &TestLab, url: &str) -> String {
    let finished = web(lab, &format!("curl -sS -m 5 {url}"));
    assert_eq!(finished.code, 0, "{url}: {}", finished.stderr);
    finished.stdout.lines().next().unwrap_or_default().to_owned()
}

/// dig's exit code for a server that does not answer.
const NO_ANSWER: i32 = 9;

const DIG: &str = "dig +time=1 +tries=1 +short";

#[test]
fn services_are_found_by_every_name_they_have() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    for name in ["db", "db.shop", "db.shop.svc", "db.shop.svc.cluster.local", "db.shop.svc.cluster.local."] {
        assert_eq!(fetched(&lab, &format!("http://{name}/")), "shop/db", "{name}");
        assert!(said(&lab, &format!("getent ahostsv4 {name}"))[0].starts_with("10.96.7.7 "), "{name}");
        assert!(said(&lab, &format!("getent ahostsv6 {name}"))[0].starts_with("fd00:96::77 "), "{name}");
    }
    let far = lab.exec("elsewhere/far", &["getent", "hosts", "db"]);
    assert_eq!(far.code, 2, "another namespace's Service needs its namespace: {}", far.stdout);
    let far = lab.exec("elsewhere/far", &["curl", "-sS", "-m", "5", "http://db.shop/"]);
    assert_eq!((far.code, far.stdout.lines().next()), (0, Some("shop/db")), "{}", far.stderr);

    let db = "db.shop.svc.cluster.local.";
    assert_eq!(said(&lab, &format!("{DIG} {db} AAAA")), ["fd00:96::77"]);
    assert_eq!(said(&lab, &format!("{DIG} +tcp {db} A")), ["10.96.7.7"]);
    assert_eq!(said(&lab, &format!("{DIG} _http._tcp.{db} SRV")), [format!("0 100 80 {db}")]);
    assert_eq!(said(&lab, &format!("{DIG} +search db A")), ["10.96.7.7"]);
    assert_eq!(said(&lab, &format!("{DIG} @fd00:96::a {db} A")), ["10.96.7.7"], "the server by IPv6");
    for (address, name) in [("10.96.7.7", db), ("10.96.0.10", "kube-dns.kube-system.svc.cluster.local.")] {
        assert_eq!(said(&lab, &format!("{DIG} -x {address}")), [name]);
    }
    assert_eq!(
        web(&lab, "curl -sS -m 5 http://nowhere/").code,
        6,
        "curl's code for a name that is not there"
    );
    assert!(said(&lab, "dig +time=1 +tries=1 example.org").iter().any(|line| line.contains("NXDOMAIN")));

    let cut = said(&lab, &format!("dig +time=1 +tries=1 +noedns +ignore many.{}", &db[3..])).join("\n");
    assert!(cut.contains("flags: qr aa tc rd ra;"), "{cut}");
    assert_eq!(said(&lab, "getent ahostsv4 many").iter().filter(|line| line.contains("STREAM")).count(), 60);
}

#[test]
fn policy_decides_who_may_ask() {
    let _turn = Turn::shared();
    let deny = policy("shop/deny-egress", "{podSelector: {}, policyTypes: [Egress]}");
    let to_db = policy(
        "shop/to-db",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}",
    );
    let lab = TestLab::up(&shop(), &(deny.clone() + &to_db));
    let (many, db) = ("many.shop.svc.cluster.local.", lab.pod("shop/db").v4);
    assert_eq!(fetched(&lab, &format!("http://{db}:8080/")), "shop/db", "by address it works");
    assert_eq!(web(&lab, "curl -sS -m 1 http://db/").code, 28, "curl's code for a timeout");
    assert_eq!(web(&lab, &format!("{DIG} {many}")).code, NO_ANSWER);
    let events = lab.instance.follow(&["--verdict", "dropped"]);
    events.expect_drop("policy-egress", "shop/web", Some("kube-system/kube-dns"));

    let to_dns = |protocols: &str| {
        let peer = "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, \
                    podSelector: {matchLabels: {k8s-app: kube-dns}}}";
        let rule = format!("{{to: [{peer}], ports: [{protocols}]}}");
        policy("shop/to-dns", &format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rule}]}}"))
    };
    let udp = "{protocol: UDP, port: 53}";
    lab.apply(&(deny.clone() + &to_db + &to_dns(udp)));
    assert_eq!(fetched(&lab, "http://db/"), "shop/db", "a small answer comes by UDP");
    assert_eq!(web(&lab, &format!("{DIG} +noedns {many}")).code, NO_ANSWER, "a big one needs TCP");

    lab.apply(&(deny + &to_db + &to_dns(&format!("{udp}, {{protocol: TCP, port: 53}}"))));
    assert_eq!(fetched(&lab, "http://db/"), "shop/db");
    assert_eq!(said(&lab, &format!("{DIG} +noedns {many}")).len(), 60);

    // The server has an ingress of its own.
    lab.apply(&policy("kube-system/nobody", "{podSelector: {matchLabels: {k8s-app: kube-dns}}}"));
    assert_eq!(web(&lab, &format!("{DIG} {many}")).code, NO_ANSWER);
}

#[test]
fn what_comes_and_goes_while_the_lab_is_up_has_a_name_at_once() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let late = "late.shop.svc.cluster.local.";
    assert_eq!(said(&lab, &format!("{DIG} {late}")), Vec::<String>::new());
    lab.write(
        "late.yaml",
        &DB.replace("name: db", "name: late").replace("7.7", "7.8").replace("::77", "::78"),
    );
    wait_until("the new Service is known", PATIENCE, || {
        said(&lab, &format!("{DIG} {late}")) == ["10.96.7.8"]
    });
    assert_eq!(fetched(&lab, "http://late/"), "shop/db");

    // What cannot be read leaves the names that there were.
    lab.write("late.yaml", "kind: Service\napiVersion: v1\nmetadata: {name: late}\nspec: 5\n");
    wait_until("the gateway complains", PATIENCE, || !lab.instance.status().alarms.is_empty());
    assert_eq!(said(&lab, &format!("{DIG} {late}")), ["10.96.7.8"]);
    lab.write("late.yaml", "");
    wait_until("the Service is gone", PATIENCE, || said(&lab, &format!("{DIG} {late}")).is_empty());
}

#[test]
fn pods_of_the_users_own_serve_instead() {
    let _turn = Turn::shared();
    let coredns = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  replicas: 2
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {containers: [{name: coredns, ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: health, containerPort: 8080}]}]}
";
    let coredns = manifest::namespace("kube-system") + coredns;
    let lab = TestLab::up(&(shop() + &coredns.replace("replicas: 2", "replicas: 1")), "");
    let pods: Vec<String> = lab.instance.status().ports.iter().filter_map(|port| port.pod.clone()).collect();
    assert!(!pods.iter().any(|pod| pod == "kube-system/kube-dns"), "{pods:?}");
    assert_eq!(fetched(&lab, "http://db/"), "shop/db");
    let scale =
        ["lab", "scale", "--name", &lab.instance.name, "-n", "kube-system", "deploy/coredns", "--replicas=2"];
    let scaled = finish(Command::new(podgate()).args(scale));
    assert_eq!(scaled.code, 0, "{}", scaled.stderr);
    for pod in ["kube-system/coredns-0", "kube-system/coredns-1"] {
        let address = lab.pod(pod).v4;
        assert_eq!(said(&lab, &format!("{DIG} @{address} db.shop.svc.cluster.local.")), ["10.96.7.7"]);
        assert_eq!(fetched(&lab, &format!("http://{address}:8080/")), pod);
    }
}

#[test]
fn without_dns_pods_ask_where_the_machine_does() {
    let _turn = Turn::shared();
    let lab = TestLab::up_with(&shop(), "", &["--dns", "off"]);
    let machines = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(web(&lab, "cat /etc/resolv.conf").stdout, machines);
    let pods = lab.instance.status().ports.len();
    assert_eq!(pods, 3, "no pod was added");
}

const RESOLV_CONF: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                           nameserver 10.96.0.10\noptions ndots:5\n";

#[test]
fn programs_in_pods_ask_the_labs_server_whatever_the_machine_is_set_up_for() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let machines = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(lab.exec("node", &["cat", "/etc/resolv.conf"]).stdout, machines);
    assert_eq!(web(&lab, "cat /etc/resolv.conf").stdout, RESOLV_CONF);

    // A machine with another /etc, in mounts of its own.
    let with_etc = |set_up: &str| {
        let script = format!(
            "set -e; mount -t tmpfs etc /mnt; cp /etc/passwd /mnt; cd /mnt; {set_up}; cd /; \
             mount --move /mnt /etc; before=$(find /etc | sort); \
             {podgate} lab exec --name {name} shop/web -- cat /etc/resolv.conf; \
             {podgate} lab exec --name {name} shop/web -- curl -sS -m 5 http://db/ | head -n 1; \
             test \"$before\" = \"$(find /etc | sort)\"; mount | grep -c ' /etc' ",
            podgate = podgate().display(),
            name = lab.instance.name,
        );
        let private = ["--mount", "--propagation", "private", "sh", "-c", &script];
        let finished = finish(Command::new("unshare").args(private));
        assert_eq!(
            (finished.code, finished.stdout),
            (0, format!("{RESOLV_CONF}shop/db\n1\n")),
            "{set_up}: {}",
            finished.stderr
        );
    };
    with_etc("true");
    with_etc("ln -s /run/nowhere/stub-resolv.conf resolv.conf");
    with_etc("echo 'nameserver 127.0.0.53' > elsewhere.conf; ln -s elsewhere.conf resolv.conf");
    with_etc("touch resolv.conf hosts; echo 'hosts: resolve [!UNAVAIL=return] files' > nsswitch.conf");
    with_etc("touch resolv.conf; echo '192.0.2.1 db' > hosts; echo 'hosts: files dns' > nsswitch.conf");
}

#[test]
fn a_program_that_outlives_its_lab_holds_nothing_of_it() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let name = &lab.instance.name;
    let mut exec = Command::new(podgate())
        .args(["lab", "exec", "--name", name, "shop/web", "--", "sh", "-c", "echo $$; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("podgate");
    let mut pid = String::new();
    BufReader::new(exec.stdout.take().expect("piped")).read_line(&mut pid).expect("its number");
    let pid: i32 = pid.trim().parse().expect("its number");
    // Namespaces that are mounted where that program can see them: each would live on with it.
    let namespaces = || {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("it runs");
        mounts.lines().filter(|line| line.contains(" nsfs ") && line.contains(name.as_str())).count()
    };
    assert!(namespaces() > 0);
    let down = lab.try_down();
    assert_eq!(down.code, 0, "{}", down.stderr);
    assert_eq!(namespaces(), 0);
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    exec.wait().expect("it ends");
}

#[test]
fn what_is_changed_by_hand_is_known_by_name() {
    let _turn = Turn::shared();
    let lab = TestLab::up(&shop(), "");
    let change = |words: &[&str]| {
        let finished =
            finish(Command::new(podgate()).arg("lab").args(words).args(["--name", &lab.instance.name]));
        assert_eq!(finished.code, 0, "{}: {}", finished.line, finished.stderr);
    };
    // An address of the lab's choice.
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("late.yaml");
    let late = DB.replace("name: db", "name: late").replace("  clusterIPs: [10.96.7.7, 'fd00:96::77']\n", "");
    fs::write(&file, late).expect("a manifest");
    change(&["apply", "-f", &file.display().to_string()]);
    wait_until("the new Service is known", PATIENCE, || {
        !said(&lab, &format!("{DIG} late.shop.svc.cluster.local.")).is_empty()
    });
    assert_eq!(fetched(&lab, "http://late/"), "shop/db");

    change(&["delete", "pod", "kube-dns", "-n", "kube-system"]);
    assert_eq!(web(&lab, &format!("{DIG} db.shop.svc.cluster.local.")).code, NO_ANSWER);
}
