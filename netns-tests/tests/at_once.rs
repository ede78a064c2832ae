//! Runtimes that ask and events that come many at a time, late, or without end: none is lost, and none holds up the
//! others.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podgate_control::api::{Attachment, AttachmentName, CniAnswer};
use podgate_netns_tests::cni::{Container, Network};
use podgate_netns_tests::manifest::{self, deny_ingress};
use podgate_netns_tests::name::unique;
use podgate_netns_tests::nft::HeldNft;
use podgate_netns_tests::node::{BRIDGE, NODE_NAME};
use podgate_netns_tests::program::PATIENCE;
use podgate_netns_tests::space::finish;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Space, Turn, wait_until};
use serde_json::{Value, json};

const CLIENT: &str = "shop/client";
const SERVER: &str = "shop/server";
const LISTEN: &str = "127.0.0.1:9474";

/// A node with a client and a server and its gateway, whose loop can be held, and a namespace in which all other
/// pods' devices end: `pN` there is `qN` here.
struct Scene {
    gateway: Gateway,
    nft: HeldNft,
    pods: Space,
    node: Node,
}

impl Scene {
    /// The API says that so many pods `shop/pN` are to be here, and no address of them.
    fn with(scheduled: u8) -> Self {
        let (node, nft) = (Node::with_pods(&[CLIENT, SERVER]), HeldNft::new());
        let pods = Space::create(&unique("pgq"));
        let mut gateway = Gateway::prepare(&node, "", &["--listen", LISTEN]);
        let mut text = node.manifest();
        for number in 0..scheduled {
            let pod = manifest::Pod::new(&format!("shop/p{number}"), NODE_NAME).phase("Pending");
            let _ = write!(text, "{pod}");
        }
        gateway.write("cluster.yaml", &text);
        gateway.look_for_programs_in(nft.dir());
        gateway.launch();
        gateway.instance.wait_for_pods([CLIENT, SERVER]);
        Self { gateway, nft, pods, node }
    }

    /// Makes that pod's device, all but in the bridge.
    fn make(number: u8, pods: &Space) -> String {
        format!("link add q{number} type veth peer name p{number} netns {}\n", pods.name())
    }

    fn join(number: u8) -> String {
        format!("link set q{number} master {BRIDGE} up\n")
    }

    fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 44, 20, number)
    }

    /// Gives that pod's device its address.
    fn settle(number: u8) -> String {
        format!("addr add {}/16 dev p{number}\nlink set p{number} up\n", Self::address(number))
    }

    /// What a runtime tells of the first so many pods.
    fn attachments(&self, count: u8) -> Vec<Attachment> {
        let links: Vec<Value> =
            serde_json::from_str(&self.node.space.sh("ip -j link show type veth")).expect("JSON");
        let attachment = |number| {
            let device = format!("q{number}");
            let link = links.iter().find(|link| link["ifname"] == *device).expect("it was made");
            let number_in =
                |field: &str| u32::try_from(link[field].as_u64().expect("a number")).expect("a small one");
            Attachment {
                name: AttachmentName {
                    network: "podnet".into(),
                    container_id: format!("container-{number}"),
                    interface: format!("p{number}"),
                },
                netns: self.pods.netns().path().display().to_string(),
                pod: Some(format!("shop/p{number}")),
                uid: None,
                addresses: vec![Self::address(number).into()],
                device_index: number_in("ifindex"),
                peer_index: number_in("link_index"),
                netns_number: number_in("link_netnsid").cast_signed(),
                device,
            }
        };
        (0..count).map(attachment).collect()
    }

    /// From now on nobody may ask a pod of `shop`.
    #[track_caller]
    fn deny(&self) {
        self.gateway.write("policies.yaml", &deny_ingress("shop/deny-all"));
        let waited = self.gateway.instance.ask(&["wait", "--policy", "shop/deny-all", "--timeout", "20s"]);
        assert_eq!(waited.code, 0, "{}", waited.stderr);
    }

    /// Waits until the gateway has seen all events so far: it sees them in turn, and renames are seen by events alone.
    #[track_caller]
    fn have_all_seen(&self, device: &str) {
        self.node.space.sh(&format!("ip link set {device} name seen0"));
        wait_until("the last event is seen", PATIENCE, || {
            self.gateway.instance.status().ports.iter().any(|port| port.device == "seen0")
        });
    }
}

/// A connection that the gateway has taken, and on which it can be asked while its loop is held.
struct Line(BufReader<UnixStream>);

impl Line {
    #[track_caller]
    fn open(gateway: &Gateway) -> Self {
        let stream = UnixStream::connect(gateway.socket()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut line = Self(BufReader::new(stream));
        line.say("GET /v1/cni/status", "null");
        assert_eq!(line.hear(), r#"{"not_ready":null}"#);
        line
    }

    fn say(&mut self, request: &str, body: &str) {
        let text = format!(
            "{request} HTTP/1.1\r\nhost: podgate\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(text.as_bytes()).expect("it takes it");
    }

    fn add(&mut self, attachment: &Attachment) {
        self.say("POST /v1/cni/add", &serde_json::to_string(attachment).expect("JSON"));
    }

    /// The body of the next answer.
    #[track_caller]
    fn hear(&mut self) -> String {
        let mut len_bytes = 0;
        loop {
            let mut header = String::new();
            self.0.read_line(&mut header).expect("an answer");
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                len_bytes = value.trim().parse().expect("a number");
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; len_bytes];
        self.0.read_exact(&mut body).expect("its body");
        String::from_utf8(body).expect("text")
    }

    /// The port that is guarded now.
    #[track_caller]
    fn hear_guarded(&mut self, number: u8) -> u16 {
        let answer: CniAnswer = serde_json::from_str(&self.hear()).expect("an answer");
        let CniAnswer::Guarded { device, port, pod } = answer else { panic!("q{number}: {answer:?}") };
        assert_eq!((device, pod), (format!("q{number}"), Some(format!("shop/p{number}"))));
        port
    }
}

/// More than the gateway answers before it sees to anything else.
#[test]
fn each_of_eighty_runtimes_that_wait_at_once_gets_its_port() {
    const MANY: u8 = 80;
    let _turn = Turn::shared();
    let scene = Scene::with(MANY);
    let mut lines: Vec<_> = (0..MANY).map(|_| Line::open(&scene.gateway)).collect();
    let hold = scene.nft.hold();
    let all = |of: &dyn Fn(u8) -> String| (0..MANY).map(of).collect::<String>();
    scene.node.space.ip_batch(&all(&|number| Scene::make(number, &scene.pods)));
    scene.pods.ip_batch(&all(&Scene::settle));
    scene.node.space.ip_batch(&all(&Scene::join));
    hold.wait_until_run();
    for (line, attachment) in lines.iter_mut().zip(scene.attachments(MANY)) {
        line.add(&attachment);
    }
    drop(hold);
    let mut told: Vec<_> =
        lines.iter_mut().zip(0..).map(|(line, number)| (line.hear_guarded(number), number)).collect();
    told.sort_unstable();
    told.dedup_by_key(|(port, _)| *port);
    assert_eq!(told.len(), usize::from(MANY), "each has a number of its own: {told:?}");
    let status = scene.gateway.instance.status();
    assert_eq!(status.ports.len(), told.len() + 2);
    for (number, of) in told {
        let port = status.ports.iter().find(|port| port.port == number).expect("it is there");
        assert_eq!((&port.device, &port.pod), (&format!("q{of}"), &Some(format!("shop/p{of}"))));
        assert_eq!(port.cni.as_ref().map(|told| &told.name.container_id), Some(&format!("container-{of}")));
    }
    let fence = status.fence.expect("a fence");
    assert!(fence.is_whole && fence.put_back == 0 && fence.open_ports == status.ports.len(), "{fence:?}");
}

/// More than the gateway sees before it puts policy in force. The last of them matters: the fence knows ports by
/// number and name.
#[test]
fn of_hundreds_of_events_at_once_the_last_is_seen() {
    const PAIRS: usize = 180;
    let _turn = Turn::shared();
    let mut scene = Scene::with(0);
    let (client, server) = (scene.node.pod(CLIENT), scene.node.pod(SERVER));
    let _server = Server::start(server, 80);
    let mut talk = Conversation::open(&client.space, server.v4, 80);
    let hold = scene.nft.hold();
    scene.node.space.ip_batch(&(Scene::make(0, &scene.pods) + &Scene::join(0)));
    hold.wait_until_run();
    let mut lines = String::new();
    for number in 0..PAIRS {
        let _ = writeln!(lines, "link add a{number} type veth peer name b{number}");
        let _ = writeln!(lines, "link set a{number} name c{number}\nlink set b{number} name d{number}");
    }
    let port = &server.port;
    let _ = writeln!(lines, "link set {port} name last0");
    scene.node.space.ip_batch(&lines);
    drop(hold);
    wait_until("its new name is known", 3 * PATIENCE, || {
        scene.gateway.instance.port_of(SERVER).device == "last0"
    });
    assert!(talk.exchange(ALLOWED_WITHIN), "it passes the fence by that name");

    // What comes afterwards is seen to, as ever.
    scene.node.add("shop/late");
    scene.gateway.refresh(&scene.node);
    let late = scene.node.pod("shop/late");
    let client = scene.node.pod(CLIENT);
    assert_eq!(reach(&client.space, late.v4, 80), Reach::Refused, "nobody listens there");
    scene.deny();
    for to in [late.v4, scene.node.pod(SERVER).v4] {
        assert_eq!(reach_within(&client.space, to, 80, DENIED_AFTER), Reach::TimedOut, "{to}");
    }
}

/// The gateway is told of a device before it joins the bridge, and reads that after a runtime has asked for it.
#[test]
fn an_event_from_before_a_port_was_one_does_not_let_it_go() {
    let _turn = Turn::shared();
    let scene = Scene::with(1);
    let mut line = Line::open(&scene.gateway);
    let hold = scene.nft.hold();
    scene.node.space.ip_batch(&(Scene::make(1, &scene.pods) + &Scene::join(1)));
    hold.wait_until_run();
    scene.node.space.ip_batch(&Scene::make(0, &scene.pods));
    scene.pods.ip_batch(&Scene::settle(0));
    scene.node.space.ip_batch(&Scene::join(0));
    line.add(&scene.attachments(1)[0]);
    drop(hold);
    let number = line.hear_guarded(0);
    scene.have_all_seen("q1");
    // Let go and guarded anew, it would have another one.
    let port = scene.gateway.instance.port_of("shop/p0");
    assert_eq!((port.port, port.device.as_str()), (number, "q0"), "{}", scene.gateway.log());
    assert!(!scene.gateway.log().contains("no longer guarding"), "{}", scene.gateway.log());
    assert_eq!(reach(&scene.pods, scene.node.pod(CLIENT).v4, 80), Reach::Refused, "nobody listens there");
}

/// Ports get other names, go down and come up, and addresses come and go, until it is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Should nobody end it.
    const AT_MOST: Duration = Duration::from_mins(1);

    fn start(space: &Space, ports: u8) -> Self {
        let mut lines = String::new();
        for round in 0..100 {
            let port = format!("q{}", round % ports);
            let _ = writeln!(
                lines,
                "link set {port} name {port}x\naddr add 10.99.0.{round}/32 dev lo\nlink set {port}x name {port}y\n\
                 addr del 10.99.0.{round}/32 dev lo\nlink set {port}y name {port}"
            );
            if round % 10 == 0 {
                let _ = writeln!(lines, "link set {port} down\nlink set {port} up");
            }
        }
        let (over, space) = (Arc::new(AtomicBool::new(false)), Space::open(space.name()));
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let start = Instant::now();
                while !over.load(Ordering::Relaxed) && start.elapsed() < Self::AT_MOST {
                    space.ip_batch(&lines);
                }
            }
        });
        Self { over, thread: Some(thread) }
    }

    fn flows(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn events_without_end_keep_nobody_waiting() {
    const PORTS: u8 = 20;
    let _turn = Turn::alone();
    let mut scene = Scene::with(1);
    for number in 0..PORTS {
        let lines = Scene::make(number, &scene.pods) + &Scene::join(number);
        scene.node.space.ip_batch(&lines);
    }
    let network = Network::bridged(&scene.gateway, "1.0.0", &json!({}));
    let flood = Flood::start(&scene.node.space, PORTS);
    let container = Container::of("shop/p0");
    let added = network.add(&scene.node, &container).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(scene.gateway.instance.port_of("shop/p0").device, added.device());
    let server = scene.node.pod(SERVER);
    assert_eq!(reach(&container.space, server.v4, 80), Reach::Refused, "nobody listens there");
    scene.deny();
    assert_eq!(reach_within(&container.space, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    let mut curl = scene.node.space.command("curl");
    let alive = finish(curl.args(["-sS", "-m", "20", &format!("http://{LISTEN}/healthz")]));
    assert_eq!((alive.code, alive.stdout.as_str()), (0, "alive\n"), "{}", alive.stderr);
    network.del(&scene.node, &container, Some(&added)).unwrap();
    assert_eq!(scene.gateway.end(Signal::SIGTERM).code(), Some(0), "{}", scene.gateway.log());
    assert!(flood.flows(), "all the while");
}
