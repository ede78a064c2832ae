//! What programs in a pod see of `/etc`: the files by which the C library finds hosts.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::record::Directory;
use super::{LabError, LabHost};

/// Where the machine says how names are found.
const SWITCH: &str = "/etc/nsswitch.conf";

/// Writes the files of a pod, unless they are there already, and says where they are.
pub(super) fn write(lab: &Directory, pod: &LabHost, nameservers: &[IpAddr]) -> Result<PathBuf, LabError> {
    // The namespace's file name is the one name of the pod that is a file name.
    let directory = lab.path().join("etc").join(pod.netns.file_name().unwrap_or_default());
    let written = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        put(&directory, "resolv.conf", &resolv_conf(pod, nameservers))?;
        put(&directory, "hosts", &hosts(pod))?;
        // Without one, the C library looks into files, and then asks DNS.
        match fs::read_to_string(SWITCH) {
            Ok(machines) => put(&directory, "nsswitch.conf", &nsswitch_conf(&machines)),
            Err(_) => Ok(()),
        }
    };
    written().map_err(|source| LabError::Record {
        path: directory.clone(),
        operation: "write files of /etc there",
        source,
    })?;
    Ok(directory)
}

/// As a whole: another program may be started in the pod at the same moment.
fn put(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = directory.join(name);
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    // Beside the directory, whose every file is put into /etc.
    let thread = std::thread::current().id();
    let new = directory.with_extension(format!("{name}.{}.{thread:?}", std::process::id()));
    fs::write(&new, text)?;
    fs::rename(&new, &path)
}

/// As the kubelet writes it for a pod with `dnsPolicy: ClusterFirst`.
fn resolv_conf(pod: &LabHost, nameservers: &[IpAddr]) -> String {
    let namespace = pod.reference.split_once('/').map_or("default", |(namespace, _)| namespace);
    let has_v4 = pod.addresses.iter().any(IpAddr::is_ipv4);
    let reached = nameservers.iter().find(|address| address.is_ipv4() == has_v4).or(nameservers.first());
    let mut text = format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n");
    if let Some(address) = reached {
        text.push_str(&format!("nameserver {address}\n"));
    }
    text + "options ndots:5\n"
}

/// Only the pod itself: what the machine calls its neighbours is not the cluster's business.
fn hosts(pod: &LabHost) -> String {
    let name = pod.reference.split_once('/').map_or(pod.reference.as_str(), |(_, name)| name);
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for address in &pod.addresses {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// The machine's, but hosts are looked up in files and DNS only: other services (`resolve`, `mymachines`,
/// `mdns`, ...) ask programs of the machine, through sockets that a network namespace does not hide.
fn nsswitch_conf(machines: &str) -> String {
    let others = machines.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
    others.chain(["hosts: files dns", ""]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Role;

    fn pod(addresses: &[&str]) -> LabHost {
        LabHost {
            role: Role::Pod,
            reference: "shop/web".into(),
            netns: "/run/netns/pg-t-shop-web".into(),
            host_device: "pg0".into(),
            host_index: 0,
            mac: None,
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
            mtu: 1500,
            ports: Vec::new(),
            serves_dns: false,
            responder: None,
            nameserver: None,
        }
    }

    #[test]
    fn resolv_conf_is_the_kubelets() {
        let servers = ["10.96.0.10", "fd00:96::a"].map(|address| address.parse().expect("an address"));
        let written = |addresses: &[&str], servers: &[IpAddr]| resolv_conf(&pod(addresses), servers);
        let search = "search shop.svc.cluster.local svc.cluster.local cluster.local\n";
        let with = |server: &str| format!("{search}nameserver {server}\noptions ndots:5\n");
        assert_eq!(written(&["10.244.0.5", "fd00:244::5"], &servers), with("10.96.0.10"));
        assert_eq!(written(&["fd00:244::5"], &servers), with("fd00:96::a"));
        assert_eq!(written(&["fd00:244::5"], &servers[..1]), with("10.96.0.10"));
    }

    #[test]
    fn the_machines_own_ways_to_names_are_left_out() {
        let machines = "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\nnetworks: files\n";
        assert_eq!(nsswitch_conf(machines), "passwd: files\nnetworks: files\nhosts: files dns\n");
        assert_eq!(
            hosts(&pod(&["10.244.0.5"])),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.244.0.5\tweb\n"
        );
    }
}
