//! The rules that kube-proxy writes in its iptables mode (Kubernetes 1.28, `pkg/proxy/iptables/proxier.go`), for Services
//! of one TCP port, and those that a bridge CNI plugin adds for what leaves the cluster.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;

use crate::Space;

/// The mark on what is to be masqueraded.
const MARK: &str = "0x4000/0x4000";

/// A Service as kube-proxy sees it.
#[derive(Clone, Debug)]
pub struct Proxied {
    /// A short name of its own, of letters that chains may have.
    pub name: &'static str,
    /// Its ClusterIP.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The same on every node, if it is of type NodePort, and whether clients keep their address there
    /// (`externalTrafficPolicy: Local`).
    pub node_port: Option<(u16, Traffic)>,
    /// Pods and the port that they answer on.
    pub backends: Vec<(Ipv4Addr, u16)>,
}

/// `externalTrafficPolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// Any node's pods; clients are masqueraded.
    Cluster,
    /// This node's pods; they see the client.
    Local,
}

/// What kube-proxy is told.
#[derive(Clone, Debug)]
pub struct KubeProxy {
    /// `--cluster-cidr`.
    pub cluster: &'static str,
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// All Services.
    pub services: Vec<Proxied>,
}

impl KubeProxy {
    /// Puts the rules in force in a node's namespace, beside what is there.
    #[track_caller]
    pub fn put_in_force(&self, node: &Space) {
        let mut command = node.command("iptables-restore");
        command.arg("--noflush").stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("iptables-restore (package iptables)");
        let rules = self.rules();
        child.stdin.take().expect("piped").write_all(rules.as_bytes()).expect("it reads its rules");
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "iptables-restore: {stderr}\n{rules}");
    }

    fn rules(&self) -> String {
        let mut text = String::from(
            "*filter\n:KUBE-FORWARD - [0:0]\n\
             -A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n\
             -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
             -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
             -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n\
             *nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n",
        );
        let mut rules = format!(
            "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
             -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
             -A KUBE-POSTROUTING -m mark ! --mark {MARK} -j RETURN\n\
             -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
             -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
             -A POSTROUTING -s {0} ! -d {0} -j MASQUERADE\n",
            self.cluster
        );
        for service in &self.services {
            self.write(service, &mut text, &mut rules);
        }
        rules += "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n";
        text + &rules + "COMMIT\n"
    }

    fn write(&self, service: &Proxied, chains: &mut String, rules: &mut String) {
        let Proxied { name, address, port, node_port, backends } = service;
        let asked = format!("-d {address}/32 -p tcp -m tcp --dport {port}");
        let _ = writeln!(chains, ":KUBE-SVC-{name} - [0:0]");
        let _ = writeln!(rules, "-A KUBE-SERVICES {asked} -j KUBE-SVC-{name}");
        let from = if self.masquerade_all { String::new() } else { format!("! -s {} ", self.cluster) };
        let _ = writeln!(rules, "-A KUBE-SVC-{name} {from}{asked} -j KUBE-MARK-MASQ");
        for (number, (pod, to)) in backends.iter().enumerate() {
            let _ = writeln!(chains, ":KUBE-SEP-{name}{number} - [0:0]");
            let left = backends.len() - number;
            let chance = 1.0 / left as f64;
            let at_random = format!("-m statistic --mode random --probability {chance:.10} ");
            let at_random = if left > 1 { at_random } else { String::new() };
            let _ = writeln!(rules, "-A KUBE-SVC-{name} {at_random}-j KUBE-SEP-{name}{number}");
            let _ = writeln!(rules, "-A KUBE-SEP-{name}{number} -s {pod}/32 -j KUBE-MARK-MASQ");
            let _ = writeln!(
                rules,
                "-A KUBE-SEP-{name}{number} -p tcp -m tcp -j DNAT --to-destination {pod}:{to}"
            );
        }
        if let Some((port, traffic)) = node_port {
            let _ = writeln!(chains, ":KUBE-EXT-{name} - [0:0]");
            let _ = writeln!(rules, "-A KUBE-NODEPORTS -p tcp -m tcp --dport {port} -j KUBE-EXT-{name}");
            match traffic {
                Traffic::Cluster => rules.push_str(&format!("-A KUBE-EXT-{name} -j KUBE-MARK-MASQ\n")),
                Traffic::Local => {
                    let _ = writeln!(
                        rules,
                        "-A KUBE-EXT-{name} -s {} -j KUBE-SVC-{name}\n\
                         -A KUBE-EXT-{name} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
                        self.cluster
                    );
                }
            }
            let _ = writeln!(rules, "-A KUBE-EXT-{name} -j KUBE-SVC-{name}");
        }
    }
}
