//! A namespace with an address: where traffic starts and ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podgate_dataplane::mac::Mac;

use crate::Space;

/// A pod on a node of ours or in a lab.
#[derive(Debug)]
pub struct Pod {
    /// `namespace/name`.
    pub key: String,
    /// Its network namespace; the device in it is `eth0`.
    pub space: Space,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// The MAC address of its `eth0`.
    pub mac: Mac,
    /// The device on the node's side.
    pub port: String,
    /// Labels, as Kubernetes would have them.
    pub labels: Vec<(String, String)>,
}

impl Pod {
    /// The pod `key` in the namespace `space`, its addresses read from there.
    #[track_caller]
    pub fn found_in(key: &str, space: Space) -> Self {
        let text = space.sh("ip -j addr show dev eth0");
        let found: serde_json::Value = serde_json::from_str(&text).expect("ip writes JSON");
        let addresses: Vec<IpAddr> = found[0]["addr_info"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|info| info["scope"] == "global")
            .filter_map(|info| info["local"].as_str()?.parse().ok())
            .collect();
        let v4 = addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().find_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        });
        let mac = found[0]["address"].as_str().map(parse_mac).expect("eth0 has an address");
        Self {
            key: key.into(),
            space,
            v4: v4.unwrap_or(Ipv4Addr::UNSPECIFIED),
            v6: v6.unwrap_or(Ipv6Addr::UNSPECIFIED),
            mac,
            port: String::new(),
            labels: Vec::new(),
        }
    }

    /// Its namespace in Kubernetes.
    pub fn namespace(&self) -> &str {
        self.key.split('/').next().unwrap_or_default()
    }

    /// Its name in Kubernetes.
    pub fn name(&self) -> &str {
        self.key.split('/').nth(1).unwrap_or_default()
    }

    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The link-local address that the kernel gave its `eth0`: EUI-64, RFC 4291 appendix A.
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

/// A MAC address as `ip` writes it.
#[track_caller]
pub fn parse_mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{text} is no MAC address"));
    }
    Mac(bytes)
}
