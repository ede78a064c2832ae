//! A bridge with pods on it, made by hand with iproute2: the gateway's own plumbing is not to be
//! tested with itself, and some tests want devices that a lab does not have.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podgate_dataplane::mac::Mac;

use crate::manifest;
use crate::name::unique;
use crate::{Pod, Space};

/// Name of the bridge.
pub const BRIDGE: &str = "cni0";
/// Name of the Node object.
pub const NODE_NAME: &str = "node-1";

/// A namespace with a bridge, and its pods.
#[derive(Debug)]
pub struct Node {
    /// Its pods, in the order they were made. Dropped before the node.
    pub pods: Vec<Pod>,
    /// The node's namespace.
    pub space: Space,
    mtu: u32,
    next: u16,
}

impl Node {
    /// A node without pods: `10.44.0.1/16`, `fd44::1/64`.
    pub fn new() -> Self {
        Self::with_mtu(1500)
    }

    /// A node whose devices have that MTU.
    pub fn with_mtu(mtu: u32) -> Self {
        let node = Self::bare_with_mtu(mtu);
        let (v4, v6) = (Self::V4, Self::V6);
        node.space.ip_batch(&format!("addr add {v4}/16 dev {BRIDGE}\naddr add {v6}/64 dev {BRIDGE} nodad\n"));
        node
    }

    /// A bridge without any address.
    pub fn bare() -> Self {
        Self::bare_with_mtu(1500)
    }

    fn bare_with_mtu(mtu: u32) -> Self {
        let space = Space::create(&unique("pgn"));
        space.ip_batch(&format!(
            "link add {BRIDGE} type bridge stp_state 0 forward_delay 0\nlink set {BRIDGE} mtu {mtu} up\n"
        ));
        Self { pods: Vec::new(), space, mtu, next: 10 }
    }

    /// The node's IPv4 address.
    pub const V4: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 1);
    /// The node's IPv6 address.
    pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 0, 1);

    /// A node with these pods (`namespace/name`).
    pub fn with_pods(keys: &[&str]) -> Self {
        let mut node = Self::new();
        for key in keys {
            node.add(key);
        }
        node
    }

    /// Adds a pod; its label is `app: <name>`. Returns its position.
    pub fn add(&mut self, key: &str) -> usize {
        let [high, low] = self.next.to_be_bytes();
        let v4 = Ipv4Addr::new(10, 44, high, low);
        let v6 = Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 0x0a2c, self.next);
        let at = self.plug_in(key, v4, v6);
        self.pods[at].space.ip_batch(&format!(
            "addr add {v4}/16 dev eth0\naddr add {v6}/64 dev eth0 nodad\n\
             route add default via {}\nroute add ::/0 via {}\n",
            Self::V4,
            Self::V6
        ));
        at
    }

    /// Adds a pod with these addresses, for which everything is on the link. Returns its position.
    pub fn attach(&mut self, key: &str, addresses: &[IpAddr]) -> usize {
        let (mut v4, mut v6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let mut lines = String::from("route add default dev eth0\nroute add ::/0 dev eth0\n");
        for address in addresses {
            match address {
                IpAddr::V4(address) => {
                    v4 = *address;
                    let _ = writeln!(lines, "addr add {address}/32 dev eth0");
                }
                IpAddr::V6(address) => {
                    v6 = *address;
                    let _ = writeln!(lines, "addr add {address}/128 dev eth0 nodad");
                }
            }
        }
        let at = self.plug_in(key, v4, v6);
        self.pods[at].space.ip_batch(&lines);
        at
    }

    /// Makes a pod's namespace and plugs it into the bridge, without any address yet; it is to have
    /// these. Returns its position.
    pub fn plug_in(&mut self, key: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> usize {
        let [high, low] = self.next.to_be_bytes();
        self.next += 1;
        let mac = Mac([2, 0x44, 0, 0, high, low]);
        let port = format!("veth{high:02x}{low:02x}");
        let space = Space::create(&unique("pgp"));
        self.space.ip_batch(&format!(
            "link add {port} mtu {mtu} type veth peer name eth0 address {mac} mtu {mtu} netns {pod}\n\
             link set {port} master {BRIDGE} up\n",
            pod = space.name(),
            mtu = self.mtu,
            mac = written(mac),
        ));
        space.sh("ip link set eth0 up");
        let name = key.split('/').nth(1).expect("namespace/name");
        let labels = vec![("app".into(), name.into())];
        self.pods.push(Pod { key: key.into(), space, v4, v6, mac, port, labels });
        self.pods.len() - 1
    }

    /// Takes a pod away, devices and all. Returns its key.
    pub fn remove(&mut self, key: &str) -> Pod {
        let at = self.pods.iter().position(|pod| pod.key == key).expect("a pod of this node");
        let pod = self.pods.remove(at);
        self.space.sh(&format!("ip link del {}", pod.port));
        pod
    }

    /// The pod `key`.
    #[track_caller]
    pub fn pod(&self, key: &str) -> &Pod {
        self.pods.iter().find(|pod| pod.key == key).unwrap_or_else(|| panic!("no pod {key}"))
    }

    /// What Kubernetes would say of the node and its pods: Node, Namespaces, Pods.
    pub fn manifest(&self) -> String {
        let mut text = manifest::node(NODE_NAME, &[Self::V4.into(), Self::V6.into()]);
        let mut namespaces: Vec<_> = self.pods.iter().map(Pod::namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            text += &manifest::namespace(namespace);
        }
        for pod in &self.pods {
            let _ = write!(text, "{}", manifest::Pod::of(pod, NODE_NAME));
        }
        text
    }
}

impl AsRef<Space> for Node {
    fn as_ref(&self) -> &Space {
        &self.space
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

fn written(mac: Mac) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}
