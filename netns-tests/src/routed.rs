//! Pods behind veths that are ports of no bridge, as the CNI plugin `ptp` makes them: the node's end has the gateway's
//! address, the pod has a route to that alone, and the node one to each pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podgate_dataplane::mac::Mac;

use crate::manifest;
use crate::name::unique;
use crate::node::NODE_NAME;
use crate::{Pod, Space};

/// A node without a bridge, and its pods.
#[derive(Debug)]
pub struct RoutedNode {
    /// Its pods, in the order they were made. Dropped before the node.
    pub pods: Vec<Pod>,
    /// The node's namespace.
    pub space: Space,
    next: u8,
}

impl RoutedNode {
    /// The node's address towards its pods.
    pub const V4: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 1);
    /// The same, IPv6.
    pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 0, 1);

    /// A node with these pods (`namespace/name`).
    pub fn with_pods(keys: &[&str]) -> Self {
        let space = Space::create(&unique("pgr"));
        space.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let mut node = Self { pods: Vec::new(), space, next: 10 };
        for key in keys {
            node.add(key);
        }
        node
    }

    /// Adds a pod; its label is `app: <name>`. Returns its position.
    pub fn add(&mut self, key: &str) -> usize {
        let at = self.plug_in(key);
        let pod = &self.pods[at];
        let (gateway4, gateway6) = (Self::V4, Self::V6);
        pod.space.ip_batch(&format!(
            "addr add {}/32 dev eth0\naddr add {}/128 dev eth0 nodad\n\
             route add {gateway4}/32 dev eth0\nroute add {gateway6}/128 dev eth0\n\
             route add default via {gateway4}\nroute add ::/0 via {gateway6}\n",
            pod.v4, pod.v6
        ));
        at
    }

    /// Makes a pod and its veth, all but its addresses. Returns its position.
    pub fn plug_in(&mut self, key: &str) -> usize {
        let last = self.next;
        self.next += 1;
        let (mac, port) = (Mac([2, 0x45, 0, 0, 0, last]), format!("veth{last:02x}"));
        let v4 = Ipv4Addr::new(10, 44, 0, last);
        let v6 = Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 1, u16::from(last));
        let space = Space::create(&unique("pgp"));
        self.space.ip_batch(&format!(
            "link add {port} type veth peer name eth0 address 02:45:00:00:00:{last:02x} netns {}\n\
             link set {port} up\naddr add {}/32 dev {port}\naddr add {}/128 dev {port} nodad\n\
             route add {v4}/32 dev {port}\nroute add {v6}/128 dev {port}\n",
            space.name(),
            Self::V4,
            Self::V6
        ));
        space.sh("ip link set eth0 up");
        let name = key.split('/').nth(1).expect("namespace/name");
        let labels = vec![("app".into(), name.into())];
        self.pods.push(Pod { key: key.into(), space, v4, v6, mac, port, labels });
        self.pods.len() - 1
    }

    /// The pod `key`.
    #[track_caller]
    pub fn pod(&self, key: &str) -> &Pod {
        self.pods.iter().find(|pod| pod.key == key).unwrap_or_else(|| panic!("no pod {key}"))
    }

    /// What Kubernetes would say of the node and its pods.
    pub fn manifest(&self) -> String {
        let addresses: [IpAddr; 2] = [Self::V4.into(), Self::V6.into()];
        let mut text = manifest::node(NODE_NAME, &addresses);
        let mut namespaces: Vec<_> = self.pods.iter().map(Pod::namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        text.extend(namespaces.into_iter().map(manifest::namespace));
        text.extend(self.pods.iter().map(|pod| manifest::Pod::of(pod, NODE_NAME).to_string()));
        text
    }
}

impl AsRef<Space> for RoutedNode {
    fn as_ref(&self) -> &Space {
        &self.space
    }
}
