//! A router beyond the node says that a packet is too big for the next link, and the pod has to hear it:
//! no rule allows the message, and its source is no end of the connection.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};

use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::name::unique;
use podgate_netns_tests::traffic::ALLOWED_WITHIN;
use podgate_netns_tests::{Gateway, Node, Space, Turn};

const FAR: [&str; 2] = ["10.46.0.2", "fd46::2"];
const PORT: u16 = 80;
const MTU: u32 = 1300;
const LEN_BYTES: usize = 200_000;

/// A router behind the node, and a host behind that, whose link takes `MTU` bytes that way. The host does
/// not know: what it answers asks for full segments.
fn beyond(node: &Node) -> [Space; 2] {
    let [router, far] = ["pgr", "pgf"].map(|prefix| Space::create(&unique(prefix)));
    node.space.ip_batch(&format!(
        "link add uplink type veth peer name node netns {router}\nlink set uplink up\n\
         addr add 10.45.0.1/24 dev uplink\naddr add fd45::1/64 dev uplink nodad\n",
        router = router.name()
    ));
    router.ip_batch(&format!(
        "link add far mtu {MTU} type veth peer name eth0 mtu 1500 netns {far}\n\
         link set node up\nlink set far up\n\
         addr add 10.45.0.2/24 dev node\naddr add fd45::2/64 dev node nodad\n\
         addr add 10.46.0.1/24 dev far\naddr add fd46::1/64 dev far nodad\n\
         route add 10.44.0.0/16 via 10.45.0.1\nroute add fd44::/64 via fd45::1\n",
        far = far.name()
    ));
    far.ip_batch(
        "link set eth0 up\naddr add 10.46.0.2/24 dev eth0\naddr add fd46::2/64 dev eth0 nodad\n\
         route add default via 10.46.0.1\nroute add ::/0 via fd46::1\n",
    );
    node.space.ip_batch("route add 10.46.0.0/24 via 10.45.0.2\nroute add fd46::/64 via fd45::2\n");
    for space in [&node.space, &router] {
        space.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    }
    [router, far]
}

#[test]
fn what_is_too_big_for_the_path_is_told_to_the_pod() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web"]);
    let [_router, far] = beyond(&node);
    let only_far = policy(
        "shop/only-far",
        "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{ipBlock: {cidr: 10.46.0.0/24}}, \
         {ipBlock: {cidr: 'fd46::/64'}}], ports: [{port: 80}]}]}",
    );
    let _gateway = Gateway::start(&node, &only_far, &[]);
    let web = &node.pod("shop/web").space;
    for address in FAR {
        let ends = (address.parse::<IpAddr>().expect("an address"), PORT);
        let listener = far.run(|| TcpListener::bind(ends)).expect("a listener");
        let mut near = web.run(|| TcpStream::connect(ends)).expect("a connection");
        let (mut heard, _) = listener.accept().expect("a connection");
        heard.set_read_timeout(Some(ALLOWED_WITHIN)).expect("a timeout");
        let sender = std::thread::spawn(move || near.write_all(&vec![7; LEN_BYTES]));
        let mut received = Vec::new();
        heard.read_to_end(&mut received).expect("all of it arrives");
        assert_eq!(received.len(), LEN_BYTES, "{address}");
        sender.join().expect("no panic").expect("room");
        let route = web.sh(&format!("ip route get {address}"));
        assert!(route.contains(&format!("mtu {MTU}")), "{address}: {route}");
    }
}
