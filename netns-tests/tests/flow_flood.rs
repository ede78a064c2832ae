//! One pod floods with SYNs, and the flow table is small; the connections of others live and open.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use podgate_dataplane::mac::Mac;
use podgate_netns_tests::frame::Wire;
use podgate_netns_tests::pod::parse_mac;
use podgate_netns_tests::rough::Draw;
use podgate_netns_tests::traffic::{Conversation, Server};
use podgate_netns_tests::{Gateway, Node, Pod, Turn, wait_until};

/// A SYN is sent again after 1, 3, 7 and 15 seconds (RFC 6298, 2.1 and 5.5).
const PATIENT: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(10);

/// Connections that are there before the flood.
const ESTABLISHED: usize = 200;
/// Connections that are opened during it.
const OPENED: usize = 2400;
const CLIENTS: usize = 6;
/// What is said on each.
const EXCHANGES: usize = 25;

/// SYNs from one pod, each with ports of its own, a third of them to addresses where nobody is.
struct Flood {
    wire: Wire,
    /// Towards the server, and towards the node: all but ports and destination.
    templates: [Vec<u8>; 2],
    server: Ipv4Addr,
    sent: AtomicU64,
    stop: AtomicBool,
}

impl Flood {
    fn new(flooder: &Pod, server: &Pod, node: Mac) -> Self {
        let template = |to_mac: Mac| {
            let packet = PacketBuilder::ethernet2(flooder.mac.0, to_mac.0)
                .ipv4(flooder.v4.octets(), [0; 4], 64)
                .tcp(0, 0, 0, 64_240)
                .syn();
            let mut frame = Vec::new();
            packet.write(&mut frame, &[]).expect("a vector takes all");
            frame
        };
        Self {
            wire: Wire::open(&flooder.space, "eth0"),
            templates: [template(server.mac), template(node)],
            server: server.v4,
            sent: AtomicU64::default(),
            stop: AtomicBool::default(),
        }
    }

    /// As fast as the device takes them.
    fn run(&self) {
        let mut draw = Draw(1);
        while !self.stop.load(Ordering::Relaxed) {
            let [high, low] = (draw.below(1 << 16) as u16).to_be_bytes();
            let (mut frame, to, port) = match draw.below(3) {
                0 => (self.templates[0].clone(), self.server, 80),
                1 => (self.templates[0].clone(), self.server, 1000 + draw.below(30_000) as u16),
                // For documentation (RFC 5737): the node drops them.
                _ => (self.templates[1].clone(), Ipv4Addr::new(198, 51, 100, high), 80),
            };
            aim(&mut frame, to, u16::from_be_bytes([low, high]), port);
            if self.wire.try_send(&frame) {
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Fills in what a template leaves 0. Both checksums are sums, so they can be added to (RFC 1624).
fn aim(frame: &mut [u8], to: Ipv4Addr, from_port: u16, to_port: u16) {
    const IP_CHECKSUM: usize = 24;
    const DESTINATION: usize = 30;
    const PORTS: usize = 34;
    const TCP_CHECKSUM: usize = 50;
    let [a, b, c, d] = to.octets();
    let address = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let mut add = |at: usize, words: &[u16]| {
        let old = !u16::from_be_bytes([frame[at], frame[at + 1]]);
        let sum: u32 = words.iter().map(|&word| u32::from(word)).sum::<u32>() + u32::from(old);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    };
    add(IP_CHECKSUM, &address);
    add(TCP_CHECKSUM, &[address[0], address[1], from_port, to_port]);
    frame[DESTINATION..DESTINATION + 4].copy_from_slice(&to.octets());
    frame[PORTS..PORTS + 2].copy_from_slice(&from_port.to_be_bytes());
    frame[PORTS + 2..PORTS + 4].copy_from_slice(&to_port.to_be_bytes());
}

/// What became of the connections.
#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    succeeded: usize,
    /// Of these, those that took so long that a SYN must have been sent again.
    after_repetition: usize,
    longest: Duration,
}

/// Opens connections one after the other, and talks on each.
fn open_many(to: SocketAddr, count: usize) -> Opened {
    let mut opened = Opened::default();
    for _ in 0..count {
        let start = Instant::now();
        let mut talk = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&to, PATIENT)?;
            let took = start.elapsed();
            opened.longest = opened.longest.max(took);
            opened.after_repetition += usize::from(took >= Duration::from_secs(1));
            stream.set_read_timeout(Some(PATIENT))?;
            stream.set_nodelay(true)?;
            // The banner's end, and then echoes.
            while banner_goes_on(&mut stream)? {}
            for _ in 0..EXCHANGES {
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])?;
            }
            Ok(())
        };
        match talk() {
            Ok(()) => opened.succeeded += 1,
            Err(error) => println!("a connection failed after {:?}: {error}", start.elapsed()),
        }
    }
    opened
}

fn banner_goes_on(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

/// Floods a gateway with these options; returns the flooder's drops.
fn others_do_not_notice(options: &[&str]) -> BTreeMap<String, u64> {
    let node = Node::with_pods(&["a/flooder", "a/client", "a/steady", "a/server", "a/other"]);
    let gateway = Gateway::start(&node, "", options);
    let [flooder, client, steady, server, other] = [0, 1, 2, 3, 4].map(|at| &node.pods[at]);
    let _servers = [Server::start(server, 80), Server::start(other, 80)];
    let mut talks: Vec<_> = (0..ESTABLISHED)
        .map(|number| {
            Conversation::open(&steady.space, if number % 2 == 0 { server.v4 } else { other.v4 }, 80)
        })
        .collect();
    assert!(talks.iter_mut().all(|talk| talk.exchange(SOON)));

    let link = node.space.link("cni0");
    let flood = Flood::new(flooder, server, parse_mac(link["address"].as_str().expect("an address")));
    let sent = || flood.sent.load(Ordering::Relaxed);
    let start = Instant::now();
    let opened = std::thread::scope(|scope| {
        scope.spawn(|| flood.run());
        wait_until("the flood runs", SOON, || sent() > 50_000);
        // Not the server that is flooded: how many SYNs it can take is its own affair.
        let to = SocketAddr::new(other.v4.into(), 80);
        let opened: Vec<Opened> = client.space.run(|| {
            std::thread::scope(|scope| {
                let opening: Vec<_> =
                    (0..CLIENTS).map(|_| scope.spawn(|| open_many(to, OPENED / CLIENTS))).collect();
                opening.into_iter().map(|thread| thread.join().expect("a client")).collect()
            })
        });
        flood.stop.store(true, Ordering::Relaxed);
        opened
    });
    let rate = sent() as f64 / start.elapsed().as_secs_f64();
    let succeeded: usize = opened.iter().map(|opened| opened.succeeded).sum();
    let repeated: usize = opened.iter().map(|opened| opened.after_repetition).sum();
    let longest = opened.iter().map(|opened| opened.longest).max().unwrap_or_default();
    println!(
        "{} SYNs, {rate:.0} a second; {succeeded} of {OPENED} connections, {repeated} after a repeated SYN, \
         the longest in {longest:?}",
        sent()
    );
    let alive = talks.iter_mut().filter_map(|talk| talk.exchange(PATIENT).then_some(())).count();
    let status = gateway.instance.status();
    println!("{} flows of {}; drops: {:?}", status.flows, status.flow_capacity, status.drops);
    assert_eq!(alive, ESTABLISHED, "{status:?}");
    assert!(succeeded * 1000 >= OPENED * 999, "{succeeded} of {OPENED}: {status:?}");
    for pod in [client, steady, server, other] {
        for reason in ["tcp-invalid", "flow-quota", "half-open-quota", "flow-table-full"] {
            assert_eq!(gateway.drops(pod, reason), 0, "{reason}: {status:?}");
        }
    }
    gateway.instance.port_of(&flooder.key).drops
}

#[test]
fn a_syn_flood_is_held_to_its_pods_quota() {
    let _turn = Turn::alone();
    let options = ["--flows", "16384", "--flows-per-pod", "4096", "--half-open-per-pod", "256"];
    let drops = others_do_not_notice(&options);
    let count = |reason: &str| drops.get(reason).copied().unwrap_or(0);
    assert!(count("flow-quota") + count("half-open-quota") > 10_000, "{drops:?}");
    assert_eq!(count("flow-table-full"), 0, "{drops:?}");
}

#[test]
fn a_syn_flood_without_a_quota_takes_nothing_from_established_connections() {
    let _turn = Turn::alone();
    let options = ["--flows", "16384", "--flows-per-pod", "16384", "--half-open-per-pod", "16384"];
    others_do_not_notice(&options);
}
