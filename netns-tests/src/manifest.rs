//! Kubernetes manifests as text.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// A Node.
pub fn node(name: &str, addresses: &[IpAddr]) -> String {
    let mut text =
        format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus:\n  addresses:\n");
    for address in addresses {
        let _ = writeln!(text, "  - {{type: InternalIP, address: \"{address}\"}}");
    }
    text
}

/// A Namespace with a label `team: <name>` beside the one that Kubernetes gives it.
pub fn namespace(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  \
         labels: {{kubernetes.io/metadata.name: {name}, team: {name}}}\n"
    )
}

/// A Pod to be written.
#[derive(Clone, Debug)]
pub struct Pod {
    key: String,
    node: String,
    labels: Vec<(String, String)>,
    addresses: Vec<IpAddr>,
    ports: Vec<(u16, &'static str)>,
    phase: &'static str,
}

impl Pod {
    /// `namespace/name` on a node, with the label `app: <name>`.
    pub fn new(key: &str, node: &str) -> Self {
        let name = key.split('/').nth(1).expect("namespace/name");
        Self {
            key: key.into(),
            node: node.into(),
            labels: vec![("app".into(), name.into())],
            addresses: Vec::new(),
            ports: Vec::new(),
            phase: "Running",
        }
    }

    /// As a pod of ours is.
    pub fn of(pod: &crate::Pod, node: &str) -> Self {
        Self { addresses: pod.addresses().to_vec(), labels: pod.labels.clone(), ..Self::new(&pod.key, node) }
    }

    /// With another address.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// In another phase than `Running`.
    pub fn phase(mut self, phase: &'static str) -> Self {
        self.phase = phase;
        self
    }

    /// With another label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// With a TCP port on which it answers.
    pub fn tcp(mut self, port: u16) -> Self {
        self.ports.push((port, "TCP"));
        self
    }

    /// With a UDP port on which it answers.
    pub fn udp(mut self, port: u16) -> Self {
        self.ports.push((port, "UDP"));
        self
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = self.key.split_once('/').expect("namespace/name");
        writeln!(f, "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}")?;
        writeln!(f, "  labels:")?;
        for (key, value) in &self.labels {
            writeln!(f, "    {key}: \"{value}\"")?;
        }
        writeln!(f, "spec:\n  nodeName: {}\n  containers:\n  - name: c\n    image: any", self.node)?;
        if !self.ports.is_empty() {
            writeln!(f, "    ports:")?;
        }
        for (port, protocol) in &self.ports {
            let name = format!("p{port}-{}", protocol.to_lowercase());
            writeln!(f, "    - {{name: {name}, containerPort: {port}, protocol: {protocol}}}")?;
        }
        writeln!(f, "status:\n  phase: {}", self.phase)?;
        if let Some(first) = self.addresses.first() {
            writeln!(f, "  podIP: \"{first}\"\n  podIPs:")?;
        }
        for address in &self.addresses {
            writeln!(f, "  - ip: \"{address}\"")?;
        }
        Ok(())
    }
}

/// A NetworkPolicy `namespace/name` with that spec, written as flow YAML (`{podSelector: {}}`).
pub fn policy(key: &str, spec: &str) -> String {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: \
         {namespace}}}\nspec: {spec}\n"
    )
}

/// A policy that denies all ingress to the pods of a namespace.
pub fn deny_ingress(key: &str) -> String {
    policy(key, "{podSelector: {}, policyTypes: [Ingress]}")
}

/// An object `namespace/name` with that spec, written as flow YAML.
pub fn object(api_version: &str, kind: &str, key: &str, spec: &str) -> String {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    format!(
        "---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A Service `namespace/name` for pods with the label `app: APP`, with those ports and other fields
/// (`ports: [{port: 80}]`).
pub fn service(key: &str, app: &str, rest: &str) -> String {
    object("v1", "Service", key, &format!("{{selector: {{app: {app}}}, {rest}}}"))
}

/// A Deployment `namespace/name` of so many pods with the label `app: <name>`, that answer on the TCP
/// port 8080 (`http`) and the UDP port 5300 (`dns`).
pub fn deployment(key: &str, replicas: u32) -> String {
    let (_, app) = key.split_once('/').expect("namespace/name");
    let ports = "[{name: http, containerPort: 8080}, {name: dns, containerPort: 5300, protocol: UDP}]";
    let template = format!(
        "{{metadata: {{labels: {{app: {app}}}}}, spec: {{containers: [{{name: c, image: any, ports: {ports}}}]}}}}"
    );
    let selector = format!("{{matchLabels: {{app: {app}}}}}");
    object(
        "apps/v1",
        "Deployment",
        key,
        &format!("{{replicas: {replicas}, selector: {selector}, template: {template}}}"),
    )
}
