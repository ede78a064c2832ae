//! Which pods serve DNS, and what a lab adds where there are none.
//!
//! What is added are ordinary objects, in a file beside the user's manifests: policy, Services and tools
//! need know nothing of it.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;

use super::record::{Directory, Lock, State};
use super::respond::{AT_A_TIME, Listening, own_program, start_programs};
use super::{Lab, LabError, LabHost, Process, Role, nameserver};
use crate::model::{Cluster, Labels, ObjectKey, Pod};

/// Where clusters keep their DNS.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
/// The label by which policies find it.
const LABEL: (&str, &str) = ("k8s-app", NAME);

/// The last part of the Service's conventional addresses, 10.96.0.10 and fd00:96::a. Where another Service
/// has such an address, it is the next lower one.
const LAST: u8 = 10;

/// The file of a lab's directory with what was added.
const FILE: &str = "kube-dns.yaml";

/// The DNS of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDns {
    /// Manifests of what is missing in the user's.
    pub manifests: String,
    /// The pods that serve it.
    pub pods: Vec<ObjectKey>,
    /// Its addresses.
    pub nameservers: Vec<IpAddr>,
}

impl ClusterDns {
    /// The DNS of a lab with the objects of `cluster`. Pods of the user's own serve it, if there are any
    /// ([`serves_dns`]).
    pub fn plan(cluster: &Cluster) -> Self {
        let own = cluster.pods().values().filter(|pod| serves_dns(pod));
        let mut pods: Vec<ObjectKey> = own.map(|pod| pod.key.clone()).collect();
        let mut objects = Vec::new();
        let declared = cluster.namespaces().contains_key(NAMESPACE)
            && !cluster.implied_namespaces().any(|name| name == NAMESPACE);
        if !declared {
            objects.push(namespace());
        }
        if pods.is_empty() {
            pods.push(ObjectKey::new(NAMESPACE, NAME));
            objects.push(pod());
        }
        let service = cluster.services().get(&ObjectKey::new(NAMESPACE, NAME));
        let mut nameservers = service.map(|service| service.cluster_ips().to_vec()).unwrap_or_default();
        if nameservers.is_empty() {
            nameservers.extend(free(cluster, |last| Ipv4Addr::new(10, 96, 0, last).into()));
            if cluster.pods().values().any(|pod| has_v6(pod)) {
                let v6 = |last: u8| Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, last.into()).into();
                nameservers.extend(free(cluster, v6));
            }
        }
        if service.is_none() {
            let selector = selector(cluster, &pods);
            objects.push(self::service(&selector, &nameservers));
        }
        Self { manifests: objects.join("---\n"), pods, nameservers }
    }

    /// Writes the manifests into the directory of `lab` and returns where they are; none if nothing is
    /// missing.
    pub fn write(&self, lab: &Lab) -> Result<Option<PathBuf>, LabError> {
        if self.manifests.is_empty() {
            return Ok(None);
        }
        let path = lab.directory().join(FILE);
        let text = format!("# The lab's DNS: what its manifests have none of.\n{}", self.manifests);
        match fs::write(&path, text) {
            Ok(()) => Ok(Some(path)),
            Err(source) => Err(LabError::Record { path, operation: "write it", source }),
        }
    }
}

impl Lab {
    /// Starts to serve names in every pod that is to and does not yet; returns when all of them answer.
    /// `sources` are the arguments of `podgate run` that say where objects come from.
    pub fn start_nameservers(&self, sources: &[OsString]) -> Result<(), LabError> {
        let (lock, mut state) = self.locked()?;
        start(&self.directory, &lock, &mut state, sources, |state| &mut state.plan.hosts)
    }
}

/// The same for some hosts of the lab, for whoever holds the right to change it.
pub(super) fn start(
    directory: &Directory,
    lock: &Lock,
    state: &mut State,
    sources: &[OsString],
    hosts_in: impl Fn(&mut State) -> &mut Vec<LabHost>,
) -> Result<(), LabError> {
    let program = own_program()?;
    let is_served = |host: &LabHost| host.nameserver.as_ref().is_some_and(Process::is_running);
    let outside: Vec<String> = state.plan.hosts.iter().filter_map(outside).collect();
    let command = || {
        let mut command = Command::new(&program);
        command.args(["nameserver", "--supervised", "--lab", directory.lab()]).args(sources);
        for host in &outside {
            command.args(["--outside", host]);
        }
        command
    };
    let wanting = hosts_in(state).iter().enumerate();
    let wanting: Vec<(usize, LabHost)> = wanting
        .filter(|(_, host)| host.serves_dns && !is_served(host))
        .map(|(index, host)| (index, host.clone()))
        .collect();
    for some in wanting.chunks(AT_A_TIME) {
        let hosts: Vec<&LabHost> = some.iter().map(|(_, host)| host).collect();
        let started = start_programs(&hosts, |_| command())?;
        for ((index, _), listening) in some.iter().zip(&started) {
            hosts_in(state)[*index].nameserver = Some(listening.process.clone());
        }
        directory.write(lock, state)?;
        started.into_iter().for_each(Listening::release);
    }
    Ok(())
}

/// A host outside, as `podgate nameserver` reads it.
fn outside(host: &LabHost) -> Option<String> {
    let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
    (host.role != Role::Pod).then(|| format!("{}={}", host.reference, addresses.join(",")))
}

/// Whether a pod serves DNS, if its lab has any: one `kube-system/kube-dns`, and those in that namespace
/// with the label `k8s-app: kube-dns`.
pub fn serves_dns(pod: &Pod) -> bool {
    let is_labelled = pod.labels.get(LABEL.0).is_some_and(|value| value == LABEL.1);
    pod.is_endpoint() && pod.key.namespace == NAMESPACE && (is_labelled || pod.key.name == NAME)
}

/// The first address that no other Service has; a Service is not to take another's away.
fn free(cluster: &Cluster, address: impl Fn(u8) -> IpAddr) -> Option<IpAddr> {
    let taken: Vec<&IpAddr> = cluster.services().values().flat_map(|service| service.cluster_ips()).collect();
    (1..=LAST).rev().map(address).find(|address| !taken.contains(&address))
}

/// Pods without an address get one of each family.
fn has_v6(pod: &Pod) -> bool {
    pod.is_endpoint() && (pod.addresses.is_empty() || pod.addresses.iter().any(IpAddr::is_ipv6))
}

/// What finds the pods: the common label; or, where one of them lacks it, the labels it has.
fn selector(cluster: &Cluster, pods: &[ObjectKey]) -> Labels {
    let lacks = |pod: &&Pod| pod.labels.get(LABEL.0).is_none_or(|value| value != LABEL.1);
    let of = |key| cluster.pods().get(key).map(AsRef::as_ref);
    match pods.iter().filter_map(of).find(lacks) {
        Some(pod) => pod.labels.clone(),
        None => [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
    }
}

fn namespace() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         kubernetes.io/metadata.name: {NAMESPACE}\n"
    )
}

fn pod() -> String {
    let (key, value) = LABEL;
    let port = nameserver::PORT;
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {NAME}\n  namespace: {NAMESPACE}\n  labels:\n    \
         {key}: {value}\nspec:\n  containers:\n  - name: dns\n    ports:\n    \
         - {{name: dns, containerPort: {port}, protocol: UDP}}\n    \
         - {{name: dns-tcp, containerPort: {port}, protocol: TCP}}\n"
    )
}

fn service(selector: &Labels, addresses: &[IpAddr]) -> String {
    let port = nameserver::PORT;
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {NAME}\n  namespace: {NAMESPACE}\nspec:\n  \
         clusterIPs:\n"
    );
    for address in addresses {
        text.push_str(&format!("  - \"{address}\"\n"));
    }
    // Without any, the pods have no labels, and nothing finds them.
    if !selector.is_empty() {
        text.push_str("  selector:\n");
    }
    for (key, value) in selector {
        text.push_str(&format!("    {key}: \"{value}\"\n"));
    }
    text + &format!(
        "  ports:\n  - {{name: dns, port: {port}, protocol: UDP}}\n  \
         - {{name: dns-tcp, port: {port}, protocol: TCP}}\n"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::{Strictness, read_manifests};

    fn read(text: &str) -> Cluster {
        let reading = read_manifests(text, Path::new("test"), Strictness::New);
        assert_eq!(reading.errors, []);
        let mut cluster = Cluster::new();
        reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
        cluster
    }

    fn backends(user: &str, dns: &ClusterDns) -> Vec<String> {
        let cluster = read(&format!("{user}\n---\n{}", dns.manifests));
        let service = &cluster.services()[&ObjectKey::new(NAMESPACE, NAME)];
        let of = |port| crate::service::backends(&cluster, service, port);
        let all = service.ports.iter().flat_map(of);
        all.map(|backend| format!("{}:{}", backend.address, backend.port)).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    const WEB: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web}, status: {podIP: 10.0.0.1}}";

    #[test]
    fn a_lab_without_dns_gets_all_of_it() {
        let dns = ClusterDns::plan(&read(WEB));
        assert_eq!(dns.pods, [ObjectKey::new(NAMESPACE, NAME)]);
        assert_eq!(dns.nameservers, ips(&["10.96.0.10"]));
        let added = read(&dns.manifests);
        assert_eq!(added.implied_namespaces().count(), 0, "kube-system is declared");
        let pod = &added.pods()[&dns.pods[0]];
        assert_eq!(pod.labels["k8s-app"], "kube-dns");
        let ports: Vec<_> = pod.ports.iter().map(|port| (port.name.as_deref(), port.port)).collect();
        assert_eq!(ports, [(Some("dns"), 53), (Some("dns-tcp"), 53)]);
        assert_eq!(added.services()[&dns.pods[0]].cluster_ips(), dns.nameservers);

        let both = ClusterDns::plan(&read("{apiVersion: v1, kind: Pod, metadata: {name: web}}"));
        assert_eq!(both.nameservers, ips(&["10.96.0.10", "fd00:96::a"]));
    }

    #[test]
    fn another_services_address_is_left_to_it() {
        let other = |address: &str| {
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: s{}}}, spec: {{clusterIP: {address}, ports: \
                 [{{port: 80}}]}}}}",
                address.replace('.', "-")
            )
        };
        let others = format!("{WEB}\n---\n{}\n---\n{}", other("10.96.0.10"), other("10.96.0.9"));
        assert_eq!(ClusterDns::plan(&read(&others)).nameservers, ips(&["10.96.0.8"]));
    }

    #[test]
    fn pods_of_the_users_own_serve_instead() {
        let coredns = "{apiVersion: v1, kind: Pod, metadata: {name: coredns-1, namespace: kube-system, \
                       labels: {k8s-app: kube-dns}}, status: {podIP: 10.0.0.9}}";
        let dns = ClusterDns::plan(&read(coredns));
        assert_eq!(dns.pods, [ObjectKey::new(NAMESPACE, "coredns-1")]);
        assert!(!dns.manifests.contains("kind: Pod"), "{}", dns.manifests);
        assert_eq!(backends(coredns, &dns), ["10.0.0.9:53", "10.0.0.9:53"]);

        let named = "{apiVersion: v1, kind: Pod, metadata: {name: kube-dns, namespace: kube-system, \
                     labels: {app: mine}}, status: {podIP: 10.0.0.8}}";
        let dns = ClusterDns::plan(&read(named));
        assert_eq!(backends(named, &dns), ["10.0.0.8:53", "10.0.0.8:53"]);

        let service = "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, \
                       spec: {clusterIP: 10.43.0.10, selector: {k8s-app: kube-dns}, ports: [{port: 53}]}}";
        let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}";
        let dns = ClusterDns::plan(&read(&format!("{coredns}\n---\n{service}\n---\n{namespace}")));
        assert_eq!(dns.manifests, "");
        assert_eq!(dns.nameservers, ips(&["10.43.0.10"]));

        let elsewhere = "{apiVersion: v1, kind: Pod, metadata: {name: kube-dns, namespace: shop}}";
        assert_eq!(ClusterDns::plan(&read(elsewhere)).pods, [ObjectKey::new(NAMESPACE, NAME)]);
    }
}
