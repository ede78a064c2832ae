//! Names and addresses of all that will be made, before any of it is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use podgate_dataplane::mac::Mac;
use serde::{Deserialize, Serialize};

use super::addressing::{Addresses, Gateway, on_link};
use super::{Attachment, LabError, LabOptions, ListenPort, PodSpec, Process};
use crate::net::Netns;

/// What a host in the lab is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A pod: a port of the bridge that the gateway guards.
    Pod,
    /// A host outside the cluster.
    External(Attachment),
}

/// A pod of the lab, or a host outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabHost {
    /// What it is.
    pub role: Role,
    /// `NAMESPACE/POD` for a pod, the name for an external host.
    pub reference: String,
    /// Where its network namespace is bound.
    pub netns: PathBuf,
    /// Its device on the node's side; on its own side it is `eth0`.
    pub host_device: String,
    /// That device's index on the node's side; 0 until it is made.
    pub host_index: u32,
    /// Its Ethernet address; absent until it is made.
    #[serde(with = "mac_text")]
    pub mac: Option<Mac>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The MTU of its device, in bytes.
    pub mtu: u32,
    /// The ports it was to answer on.
    pub ports: Vec<ListenPort>,
    /// Whether it serves DNS.
    #[serde(default)]
    pub serves_dns: bool,
    /// Who answers.
    pub responder: Option<Process>,
    /// Who answers for names.
    #[serde(default)]
    pub nameserver: Option<Process>,
}

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) node_netns: PathBuf,
    pub(super) gateway: Gateway,
    /// Besides those of the gateway.
    #[serde(default)]
    pub(super) node_addresses: Vec<IpAddr>,
    pub(super) mtu: u32,
    /// Where programs in pods ask for names.
    #[serde(default)]
    pub(super) nameservers: Vec<IpAddr>,
    pub(super) hosts: Vec<LabHost>,
}

impl LabHost {
    /// What runs in it for as long as it is there.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.responder.iter().chain(&self.nameserver)
    }

    pub(super) fn is_bridged(&self) -> bool {
        self.role != Role::External(Attachment::Routed)
    }
}

impl Plan {
    pub(super) fn new(name: &str, pods: &[PodSpec], options: &LabOptions) -> Result<Self, LabError> {
        check_lab_name(name)?;
        let mut addresses = Addresses::default();
        let externals = options.externals.iter();
        for (reference, given) in pods
            .iter()
            .map(|pod| (pod.reference(), &pod.addresses))
            .chain(externals.clone().map(|external| (external.name.clone(), &external.addresses)))
        {
            for address in given {
                addresses.give(&reference, *address)?;
            }
        }
        for address in &options.node_addresses {
            addresses.give("the node", *address)?;
        }
        let gateway = addresses.gateway()?;
        let mut names = Names::new(name);
        let node_netns = names.take("node", "node")?;
        let mut hosts = Vec::with_capacity(pods.len() + options.externals.len());
        for (index, pod) in pods.iter().enumerate() {
            hosts.push(pod_host(pod, index, options.mtu, &mut addresses, &mut names)?);
        }
        for (index, external) in externals.enumerate() {
            check_part("external host", &external.name)?;
            if external.name == "node" || external.addresses.is_empty() {
                let problem =
                    if external.name == "node" { "it is the node's" } else { "the host has no address" };
                return Err(LabError::BadName { name: external.name.clone(), what: "host", problem });
            }
            let device = match external.attachment {
                Attachment::Routed => "ext",
                Attachment::Bridged => "up",
            };
            hosts.push(LabHost {
                role: Role::External(external.attachment),
                reference: external.name.clone(),
                netns: names.take(&external.name, &format!("ext-{}", external.name))?,
                host_device: format!("{device}{index}"),
                host_index: 0,
                mac: None,
                addresses: external.addresses.clone(),
                mtu: options.mtu,
                ports: external.ports.clone(),
                serves_dns: false,
                responder: None,
                nameserver: None,
            });
        }
        without_dns(&mut hosts, &options.nameservers);
        let (node_addresses, nameservers) = (options.node_addresses.clone(), options.nameservers.clone());
        let (name, mtu) = (name.into(), options.mtu);
        Ok(Self { name, node_netns, gateway, node_addresses, mtu, nameservers, hosts })
    }

    /// Hosts for pods that come to a lab that is up, and how far addresses are handed out then.
    pub(super) fn coming(
        &self,
        pods: &[PodSpec],
        handed_out: (u32, u64),
    ) -> Result<(Vec<LabHost>, (u32, u64)), LabError> {
        let mut addresses = Addresses::after(handed_out);
        let mut names = Names::new(&self.name);
        names.references.insert("node".to_owned());
        for address in self.gateway.addresses().into_iter().chain(self.node_addresses.iter().copied()) {
            addresses.give("the node", address)?;
        }
        for host in &self.hosts {
            names.references.insert(host.reference.clone());
            for address in &host.addresses {
                addresses.give(&host.reference, *address)?;
            }
        }
        for pod in pods {
            for address in &pod.addresses {
                addresses.give(&pod.reference(), *address)?;
            }
        }
        let numbers = self.hosts.iter().filter_map(|host| host.host_device.strip_prefix("pg")?.parse().ok());
        let first = numbers.max().map_or(0, |last: usize| last + 1);
        let made = (first..).zip(pods);
        let hosts: Result<Vec<_>, _> =
            made.map(|(index, pod)| pod_host(pod, index, self.mtu, &mut addresses, &mut names)).collect();
        let mut hosts = hosts?;
        without_dns(&mut hosts, &self.nameservers);
        Ok((hosts, addresses.handed_out()))
    }

    /// The subnets that are on the link for all on the bridge.
    pub(super) fn on_link(&self) -> BTreeSet<IpNet> {
        let bridged = self.hosts.iter().filter(|host| host.is_bridged());
        let given = bridged.flat_map(|host| &host.addresses).chain(&self.node_addresses).copied();
        on_link(given.chain(self.gateway.addresses()))
    }

    /// Addresses that lie behind the node, though they may look as if they were on the link.
    pub(super) fn behind_node(&self) -> impl Iterator<Item = IpAddr> {
        let routed = self.hosts.iter().filter(|host| !host.is_bridged());
        routed.flat_map(|host| host.addresses.iter().copied())
    }

    /// Every namespace of the lab, the node's last. Those that turned out to be another's have no path.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Path> {
        let all = self.hosts.iter().map(|host| host.netns.as_path()).chain([self.node_netns.as_path()]);
        all.filter(|path| !path.as_os_str().is_empty())
    }
}

fn pod_host(
    pod: &PodSpec,
    index: usize,
    mtu: u32,
    addresses: &mut Addresses,
    names: &mut Names<'_>,
) -> Result<LabHost, LabError> {
    check_part("namespace", &pod.namespace)?;
    check_part("pod", &pod.name)?;
    let reference = pod.reference();
    let addresses = match pod.addresses.as_slice() {
        [] => addresses.assign(&reference)?,
        given => given.to_vec(),
    };
    Ok(LabHost {
        role: Role::Pod,
        netns: names.take(&reference, &format!("{}-{}", pod.namespace, pod.name))?,
        reference,
        host_device: format!("pg{index}"),
        host_index: 0,
        mac: None,
        addresses,
        mtu: pod.mtu.unwrap_or(mtu),
        ports: pod.ports.clone(),
        serves_dns: pod.serves_dns,
        responder: None,
        nameserver: None,
    })
}

/// In a lab without DNS nobody serves it.
fn without_dns(hosts: &mut [LabHost], nameservers: &[IpAddr]) {
    for host in hosts {
        host.serves_dns &= !nameservers.is_empty();
    }
}

/// Hands out names of network namespaces: readable ones as long as nobody has them.
struct Names<'a> {
    lab: &'a str,
    references: BTreeSet<String>,
    taken: BTreeSet<PathBuf>,
}

impl<'a> Names<'a> {
    fn new(lab: &'a str) -> Self {
        Self { lab, references: BTreeSet::new(), taken: BTreeSet::new() }
    }

    fn take(&mut self, reference: &str, readable: &str) -> Result<PathBuf, LabError> {
        if !self.references.insert(reference.into()) {
            return Err(LabError::Duplicate { name: reference.into() });
        }
        let plain = format!("pg-{}-{readable}", self.lab);
        // `a-b` + `c` reads as `a` + `b-c`, and as another lab's; and a file name has 255 bytes.
        if plain.len() <= 200 {
            let path = Netns::named_path(&plain)?;
            if !path.exists() && self.taken.insert(path.clone()) {
                return Ok(path);
            }
        }
        let short: String = plain.chars().take(180).collect();
        let path = Netns::named_path(&format!("{short}-{:016x}", digest(&[self.lab, reference])))?;
        self.taken.insert(path.clone());
        Ok(path)
    }
}

/// FNV-1a over the parts with their ends.
fn digest(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) fn check_lab_name(name: &str) -> Result<(), LabError> {
    let problem = match name {
        "" => "it is empty",
        _ if name.len() > 40 => "it is longer than 40 bytes",
        _ if name.starts_with('-') => "it starts with a dash",
        _ if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') => {
            "it may have lower-case letters, digits and dashes only"
        }
        _ => return Ok(()),
    };
    Err(LabError::BadName { name: name.into(), what: "lab", problem })
}

fn check_part(what: &'static str, name: &str) -> Result<(), LabError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let problem = match name {
        "" => "it is empty",
        _ if name.len() > 253 => "it is longer than 253 bytes",
        _ if !name.bytes().all(allowed) => "it may have lower-case letters, digits, dashes and dots only",
        _ => return Ok(()),
    };
    Err(LabError::BadName { name: name.into(), what, problem })
}

mod mac_text {
    use podgate_dataplane::mac::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde calls"
    )]
    pub(super) fn serialize<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => serializer.collect_str(mac),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mac>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let parsed: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
        let bytes = parsed.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        bytes.map(|bytes| Some(Mac(bytes))).ok_or_else(|| de::Error::custom("not an Ethernet address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::ExternalSpec;

    fn plan(pods: &[PodSpec]) -> Result<Plan, LabError> {
        Plan::new("t", pods, &LabOptions::default())
    }

    #[test]
    fn names_that_read_alike_are_told_apart() {
        let plan = plan(&[PodSpec::new("a-b", "c"), PodSpec::new("a", "b-c")]).expect("a plan");
        let names: Vec<_> = plan.namespaces().map(|path| path.display().to_string()).collect();
        assert_eq!((&*names[0], &*names[2]), ("/run/netns/pg-t-a-b-c", "/run/netns/pg-t-node"));
        assert!(names[1].starts_with("/run/netns/pg-t-a-b-c-"), "{}", names[1]);
    }

    #[test]
    fn the_longest_names_fit_a_file_name() {
        let (namespace, name) = ("n".repeat(63), "p".repeat(253));
        let plan = plan(&[PodSpec::new(namespace, name)]).expect("a plan");
        let file = plan.hosts[0].netns.file_name().expect("a name");
        assert!(file.len() <= 255, "{}", file.len());
    }

    #[test]
    fn mistakes_are_told_before_anything_is_made() {
        let twice = plan(&[PodSpec::new("a", "b"), PodSpec::new("a", "b")]);
        assert!(matches!(twice, Err(LabError::Duplicate { name }) if name == "a/b"));
        for (namespace, name) in [("", "b"), ("a", ""), ("a/b", "c"), ("a", "../c"), ("A", "c")] {
            let bad = plan(&[PodSpec::new(namespace, name)]);
            assert!(matches!(bad, Err(LabError::BadName { .. })), "{namespace}/{name}");
        }
        for name in ["", "-x", "a_b", "Lab", "a/b", &"n".repeat(41)] {
            let bad = Plan::new(name, &[], &LabOptions::default());
            assert!(matches!(bad, Err(LabError::BadName { .. })), "{name}");
        }
        let external = ExternalSpec {
            name: "node".into(),
            addresses: vec!["192.0.2.1".parse().expect("an address")],
            ports: vec![],
            attachment: Attachment::Routed,
        };
        let options = LabOptions { externals: vec![external], ..LabOptions::default() };
        assert!(matches!(
            Plan::new("t", &[], &options),
            Err(LabError::BadName { .. } | LabError::Duplicate { .. })
        ));
    }

    #[test]
    fn a_plan_survives_its_record() {
        let mut pod = PodSpec::new("shop", "web");
        pod.ports.push("80/TCP".parse().expect("a port"));
        let mut plan = plan(&[pod]).expect("a plan");
        plan.hosts[0].mac = Some(Mac([2, 0, 0xab, 0, 0, 1]));
        let text = serde_json::to_string(&plan).expect("written");
        assert!(text.contains("\"80/TCP\"") && text.contains("\"02:00:ab:00:00:01\""), "{text}");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("read"), plan);
    }
}
