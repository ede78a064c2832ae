//! What a container runtime does with a network, as libcni does it: the plugins of a list one after the other, each
//! with the result of the one before it, and in the other order when a container goes.
//!
//! Plugins are Debian's (package containernetworking-plugins), and ours.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::name::unique;
use crate::node::BRIDGE;
use crate::program::podgate;
use crate::{Gateway, Node, Pod, Space};

/// Where Debian keeps plugins.
pub const DEBIANS: &str = "/usr/lib/cni";
/// The newest version that Debian's plugins speak (release 1.1.1).
const DEBIANS_NEWEST: &str = "1.0.0";
/// Ours.
pub const OURS: &str = "podgate-cni";

/// A network: a list of plugins, and what a runtime keeps of it.
#[derive(Debug)]
pub struct Network {
    name: String,
    version: String,
    plugins: Vec<Value>,
    /// Where the plugin that gives addresses notes them, unless another network sees to it.
    _dir: Option<TempDir>,
}

/// A container to be: a network namespace.
#[derive(Debug)]
pub struct Container {
    /// What the runtime calls it.
    pub id: String,
    /// `namespace/name` of its pod, if it is one's.
    pub pod: Option<String>,
    /// Its namespace.
    pub space: Space,
}

/// A container's interface that was made.
#[derive(Clone, Debug)]
pub struct Added {
    /// The last plugin's result.
    pub result: Value,
    /// What our plugin was told: the result before it, in the network's version.
    pub before_ours: Value,
    /// How long each plugin took.
    pub took: Vec<(String, Duration)>,
}

/// A plugin said no.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub plugin: String,
    /// What it wrote to standard output: the specification's error.
    pub error: Value,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Container {
    /// Of that pod (`namespace/name`), with nothing but loopback.
    pub fn of(pod: &str) -> Self {
        Self { pod: Some(pod.into()), ..Self::anonymous() }
    }

    /// Of no pod that the runtime would name.
    pub fn anonymous() -> Self {
        let name = unique("pgc");
        Self { id: format!("container-{name}"), pod: None, space: Space::create(&name) }
    }

    fn args(&self) -> String {
        let Some((namespace, name)) = self.pod.as_ref().and_then(|pod| pod.split_once('/')) else {
            return String::new();
        };
        format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={};\
             K8S_POD_UID=uid-of-{name}",
            self.id
        )
    }
}

impl Added {
    /// From a result alone.
    pub fn of(result: Value) -> Self {
        Self { before_ours: Value::Null, took: Vec::new(), result }
    }

    /// The addresses that it was given.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result["ips"].as_array().into_iter().flatten();
        let texts = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next());
        texts.map(|text| text.parse().expect("an address")).collect()
    }

    /// The device outside that leads to the container: of those that the result names, the last.
    pub fn device(&self) -> String {
        let interfaces = self.result["interfaces"].as_array().into_iter().flatten();
        let mut outside =
            interfaces.filter(|interface| interface["sandbox"].as_str().is_none_or(str::is_empty));
        outside
            .next_back()
            .and_then(|interface| interface["name"].as_str())
            .expect("a device outside")
            .to_owned()
    }

    /// The pod that it is, to send from and to.
    pub fn pod(&self, container: &Container) -> Pod {
        let key = container.pod.as_deref().expect("a pod's container");
        let space = Space::open(container.space.name());
        Pod { port: self.device(), ..Pod::found_in(key, space) }
    }
}

impl Network {
    /// Pods on the node's bridge, with addresses of both families, and our plugin last, which asks that gateway.
    /// `ours` are more fields of its entry.
    pub fn bridged(gateway: &Gateway, version: &str, ours: &Value) -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-cni-").tempdir().expect("a directory");
        let ipam = ipam(dir.path());
        let bridge = json!({"type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipam": ipam});
        Self::of(Some(dir), version, vec![bridge, entry(gateway, ours)])
    }

    /// The same with another plugin in the place of `bridge`; `ipam` is added to its fields.
    pub fn made_by(gateway: &Gateway, version: &str, mut first: Value, ours: &Value) -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-cni-").tempdir().expect("a directory");
        first["ipam"] = ipam(dir.path());
        Self::of(Some(dir), version, vec![first, entry(gateway, ours)])
    }

    /// As a configuration file says (`.conflist`).
    #[track_caller]
    pub fn from_file(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let plugins = list["plugins"].as_array().expect("plugins").clone();
        Self::of(None, list["cniVersion"].as_str().expect("a version"), plugins)
    }

    fn of(dir: Option<TempDir>, version: &str, plugins: Vec<Value>) -> Self {
        Self { name: "podnet".into(), version: version.into(), plugins, _dir: dir }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A node's network as a file would have it.
    pub fn list(&self) -> Value {
        json!({"cniVersion": self.version, "name": self.name, "plugins": self.plugins})
    }

    /// The same network with other fields in our entry.
    pub fn with_ours(&self, fields: &Value) -> Self {
        let mut plugins = self.plugins.clone();
        let ours = plugins.iter_mut().find(|plugin| plugin["type"] == OURS).expect("our entry");
        merge(ours, fields);
        Self::of(None, &self.version, plugins)
    }

    /// Adds the container to the network. When a plugin fails, nothing is taken back: [`Network::del`] does.
    pub fn add(&self, node: &impl AsRef<Space>, container: &Container) -> Result<Added, Failure> {
        let (mut result, mut before_ours, mut took) = (Value::Null, Value::Null, Vec::new());
        for plugin in &self.plugins {
            if plugin["type"] == OURS {
                before_ours = result.clone();
                before_ours["cniVersion"] = self.version.as_str().into();
            }
            let start = Instant::now();
            result = self.call(node.as_ref(), "ADD", plugin, container, &result)?;
            took.push((kind(plugin), start.elapsed()));
        }
        Ok(Added { result, before_ours, took })
    }

    /// Takes it off: every plugin, the last one first. `previous` is what adding it gave, if it did.
    pub fn del(
        &self,
        node: &impl AsRef<Space>,
        container: &Container,
        previous: Option<&Added>,
    ) -> Result<(), Failure> {
        let previous = previous.map_or(Value::Null, |added| added.result.clone());
        for plugin in self.plugins.iter().rev() {
            self.call(node.as_ref(), "DEL", plugin, container, &previous)?;
        }
        Ok(())
    }

    /// Asks our plugin whether it is still as it was made.
    pub fn check(
        &self,
        node: &impl AsRef<Space>,
        container: &Container,
        added: &Added,
    ) -> Result<(), Failure> {
        let said = self.call(node.as_ref(), "CHECK", self.ours(), container, &added.result)?;
        assert_eq!(said, Value::Null, "CHECK says nothing");
        Ok(())
    }

    /// Asks our plugin whether a container could be added.
    pub fn status(&self, node: &impl AsRef<Space>) -> Result<(), Failure> {
        let said = self.exec(node.as_ref(), "STATUS", self.ours(), &[], &Value::Null)?;
        assert_eq!(said, Value::Null, "STATUS says nothing");
        Ok(())
    }

    /// Tells our plugin which containers there are.
    pub fn gc(&self, node: &impl AsRef<Space>, there: &[&Container]) -> Result<(), Failure> {
        let valid: Vec<_> =
            there.iter().map(|container| json!({"containerID": container.id, "ifname": "eth0"})).collect();
        let mut plugin = self.ours().clone();
        plugin["cni.dev/valid-attachments"] = json!(valid);
        plugin["cni.dev/attachments"] = json!(valid);
        let said = self.exec(node.as_ref(), "GC", &plugin, &[], &Value::Null)?;
        assert_eq!(said, Value::Null, "GC says nothing");
        Ok(())
    }

    fn ours(&self) -> &Value {
        self.plugins.iter().find(|plugin| plugin["type"] == OURS).expect("our entry")
    }

    fn call(
        &self,
        node: &Space,
        command: &str,
        plugin: &Value,
        container: &Container,
        previous: &Value,
    ) -> Result<Value, Failure> {
        let netns = container.space.netns().path().display().to_string();
        let variables = [
            ("CNI_CONTAINERID", container.id.clone()),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_ARGS", container.args()),
        ];
        self.exec(node, command, plugin, &variables, previous)
    }

    /// Runs one plugin with a configuration in the list's name and version.
    fn exec(
        &self,
        node: &Space,
        command: &str,
        plugin: &Value,
        variables: &[(&str, String)],
        previous: &Value,
    ) -> Result<Value, Failure> {
        let is_ours = plugin["type"] == OURS;
        // A newer version is for us alone, until Debian's plugins speak it: the results are the same.
        let version = if is_ours { &self.version } else { DEBIANS_NEWEST.min(&self.version) };
        let mut configuration = plugin.clone();
        merge(&mut configuration, &json!({"cniVersion": version, "name": self.name}));
        if !previous.is_null() {
            configuration["prevResult"] = previous.clone();
            configuration["prevResult"]["cniVersion"] = version.into();
        }
        let program = program(&kind(plugin));
        let mut call = node.command(&program);
        call.env("CNI_COMMAND", command).env("CNI_PATH", DEBIANS).envs(variables.iter().map(|(k, v)| (k, v)));
        call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = call.spawn().unwrap_or_else(|error| {
            panic!("{} (package containernetworking-plugins): {error}", program.display())
        });
        // One that does not read it has its reasons.
        let _ = child.stdin.take().expect("piped").write_all(configuration.to_string().as_bytes());
        let output = child.wait_with_output().expect("a plugin ends");
        let said = if output.stdout.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                panic!("{}: {error}: {}", program.display(), String::from_utf8_lossy(&output.stdout))
            })
        };
        if output.status.success() {
            return Ok(said);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Failure { plugin: kind(plugin), error: said, stderr })
    }
}

impl Failure {
    /// The error's number.
    pub fn code(&self) -> u64 {
        self.error["code"].as_u64().unwrap_or_default()
    }

    /// The error's sentence.
    pub fn message(&self) -> &str {
        self.error["msg"].as_str().unwrap_or_default()
    }
}

/// Addresses of both families, in the node's ranges, that no pod of [`Node::add`] gets.
fn ipam(dir: &Path) -> Value {
    json!({
        "type": "host-local",
        "dataDir": dir,
        "ranges": [
            [{"subnet": "10.44.0.0/16", "rangeStart": "10.44.9.1", "rangeEnd": "10.44.12.254", "gateway": Node::V4}],
            [{"subnet": "fd44::/64", "rangeStart": "fd44::9:1", "rangeEnd": "fd44::9:fffe", "gateway": Node::V6}],
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    })
}

fn entry(gateway: &Gateway, fields: &Value) -> Value {
    let mut entry = json!({"type": OURS, "socket": gateway.socket(), "timeout": "20s"});
    merge(&mut entry, fields);
    entry
}

fn merge(into: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}

fn kind(plugin: &Value) -> String {
    plugin["type"].as_str().expect("a plugin has a type").to_owned()
}

fn program(kind: &str) -> PathBuf {
    if kind == OURS { podgate().with_file_name(OURS) } else { Path::new(DEBIANS).join(kind) }
}
