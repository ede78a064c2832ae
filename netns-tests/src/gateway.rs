//! `podgate run` on a node, taken down at the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::panicking;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podgate_control::agent::Paths;
use tempfile::TempDir;

use crate::name::unique;
use crate::node::BRIDGE;
use crate::program::{PATIENCE, podgate};
use crate::space::finish;
use crate::{ApiServer, Instance, Node, Pod, RoutedNode, Space, eventually};

/// A running gateway. Dropping it kills it and detaches what it held.
#[derive(Debug)]
pub struct Gateway {
    /// What can be asked of it.
    pub instance: Instance,
    node_netns: PathBuf,
    dir: TempDir,
    /// Where its objects come from.
    source: Vec<String>,
    options: Vec<String>,
    /// The account that it has as a pod, if it is one.
    account: Option<PathBuf>,
    /// Where it looks first for programs that it runs.
    programs: Option<PathBuf>,
    child: Option<Child>,
}

impl Gateway {
    /// Runs on `node`, with its pods and these policies; returns when every pod is guarded.
    #[track_caller]
    pub fn start(node: &Node, policies: &str, options: &[&str]) -> Self {
        let mut gateway = Self::prepare(node, policies, options);
        gateway.launch();
        gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
        gateway
    }

    /// Runs on `node`, with what `api` says of it; returns when every pod is guarded.
    #[track_caller]
    pub fn of_api(node: &Node, api: &ApiServer, options: &[&str]) -> Self {
        let mut gateway = Self::prepare_of_api(node, api, options);
        gateway.launch();
        gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
        gateway
    }

    /// The same, all but running.
    pub fn prepare_of_api(node: &Node, api: &ApiServer, options: &[&str]) -> Self {
        Self::prepare_from(node, vec!["--kubeconfig".into(), api.reader().display().to_string()], options)
    }

    /// All but running, and then as a pod: with the API server's address in its environment and, where a kubelet
    /// would mount its account, what is in the folder `account`.
    pub fn prepare_as_pod(node: &Node, account: &Path, options: &[&str]) -> Self {
        let mut gateway = Self::prepare_from(node, vec!["--kubernetes".into()], options);
        gateway.account = Some(account.to_owned());
        gateway
    }

    fn prepare_from(node: &Node, source: Vec<String>, options: &[&str]) -> Self {
        let mut gateway = Self::prepare(node, "", options);
        let state = gateway.dir.path().join("state");
        gateway.source = source;
        gateway.source.extend(["--state-dir".into(), state.display().to_string()]);
        gateway
    }

    /// Where it keeps the last good state.
    pub fn saved(&self) -> PathBuf {
        self.dir.path().join("state").join(&self.instance.name).join("objects.jsonl")
    }

    /// All but running: [`Gateway::launch`] does.
    pub fn prepare(node: &Node, policies: &str, options: &[&str]) -> Self {
        let options = [&["--bridge", BRIDGE], options].concat();
        Self::prepare_in(&node.space, &node.manifest(), policies, &options)
    }

    /// Runs on a node without a bridge; returns when every pod is guarded.
    #[track_caller]
    pub fn start_routed(node: &RoutedNode, policies: &str, options: &[&str]) -> Self {
        let options = [&["--routed", "veth*"], options].concat();
        let mut gateway = Self::prepare_in(&node.space, &node.manifest(), policies, &options);
        gateway.launch();
        gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
        gateway
    }

    fn prepare_in(space: &Space, manifest: &str, policies: &str, options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-live-").tempdir().expect("a directory");
        for sub in ["manifests", "run"] {
            fs::create_dir(dir.path().join(sub)).expect("a directory");
        }
        let instance = Instance { name: unique("t"), run_dir: Some(dir.path().join("run")) };
        let source = vec!["--manifests".into(), dir.path().join("manifests").display().to_string()];
        let gateway = Self {
            instance,
            node_netns: space.netns().path().to_owned(),
            dir,
            source,
            options: options.iter().map(|&option| option.into()).collect(),
            account: None,
            programs: None,
            child: None,
        };
        gateway.write("cluster.yaml", manifest);
        gateway.write("policies.yaml", policies);
        gateway
    }

    /// Has it look in `dir` first for programs that it runs. Before it is launched.
    pub fn look_for_programs_in(&mut self, dir: &Path) {
        self.programs = Some(dir.into());
    }

    /// The command that runs it.
    pub fn command(&self) -> Command {
        let mut command = match &self.account {
            Some(account) => as_pod(account),
            None => Command::new("nsenter"),
        };
        command.arg(format!("--net={}", self.node_netns.display())).arg("--").arg(podgate());
        command.arg("run").args(&self.source).args(self.instance.flags()).args(&self.options);
        // A large table would only cost every test the time to make it and to walk through it.
        if !self.options.iter().any(|option| option == "--flows") {
            command.args(["--flows", "131072"]);
        }
        if let Some(dir) = &self.programs {
            let usual = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{usual}", dir.display()));
        }
        command
    }

    /// Runs it, again if it has ended.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("nsenter (package util-linux)"));
    }

    /// Its folder of manifests.
    pub fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    /// Writes a manifest, in one step as editors do.
    #[track_caller]
    pub fn write(&self, file: &str, text: &str) {
        let aside = self.dir.path().join(file);
        fs::write(&aside, text).expect("a manifest");
        fs::rename(&aside, self.manifests().join(file)).expect("a manifest");
    }

    /// Puts other policies in force and waits until they are; returns how long that took.
    #[track_caller]
    pub fn apply(&self, policies: &str) -> Duration {
        let before = self.instance.status().epoch;
        self.write("policies.yaml", policies);
        self.instance.wait_for_policies(&self.manifests(), before)
    }

    /// Tells it of the node's pods as they are now, and waits until all are guarded.
    #[track_caller]
    pub fn refresh(&self, node: &Node) {
        self.write("cluster.yaml", &node.manifest());
        self.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    }

    /// Its process.
    #[track_caller]
    pub fn pid(&self) -> Pid {
        // nsenter --net executes the program in its own place, as unshare --mount and the shell do.
        Pid::from_raw(self.child.as_ref().expect("it runs").id().cast_signed())
    }

    /// Sends it a signal and waits for its end.
    #[track_caller]
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        kill(self.pid(), signal).expect("it runs");
        self.wait_for_end()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let (status, _) = eventually("the gateway ends", PATIENCE, || child.try_wait().expect("its child"));
        self.child = None;
        status
    }

    /// `podgate detach`.
    #[track_caller]
    pub fn detach(&self) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.node_netns.display())).arg("--").arg(podgate());
        let finished = finish(command.arg("detach").args(self.instance.flags()));
        assert_eq!(finished.code, 0, "podgate detach: {}\n{}", finished.stderr, self.log());
    }

    /// Where its maps and links are pinned.
    #[track_caller]
    pub fn pins(&self) -> PathBuf {
        let own = self.dir.path().join("run/bpf").join(&self.instance.name);
        let system = Path::new("/sys/fs/bpf/podgate").join(&self.instance.name);
        [system, own].into_iter().find(|path| path.is_dir()).expect("a pin directory")
    }

    /// Where it keeps its files.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its local socket.
    pub fn socket(&self) -> PathBuf {
        Paths::new(&self.run_dir(), &self.instance.name).socket()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Drops of one reason at the pod's port.
    #[track_caller]
    pub fn drops(&self, pod: &Pod, reason: &str) -> u64 {
        self.instance.drops_of(&pod.key, reason)
    }
}

/// `nsenter` in a mount namespace of its own, with that account. Its `/var` is an empty one: where the account is
/// mounted, the machine has nothing.
fn as_pod(account: &Path) -> Command {
    const SCRIPT: &str = "set -e; account=$1; at=/var/run/secrets/kubernetes.io/serviceaccount; shift; \
                          mount -t tmpfs pod /var; mkdir -p $at; mount --bind \"$account\" $at; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh"]).arg(account).arg("nsenter");
    command.env_remove("KUBECONFIG");
    command.env("KUBERNETES_SERVICE_HOST", ApiServer::ADDRESS.ip().to_string());
    command.env("KUBERNETES_SERVICE_PORT", ApiServer::ADDRESS.port().to_string());
    command
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if panicking() {
            eprintln!("--- what the gateway wrote:\n{}", self.log());
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", self.node_netns.display())).arg("--").arg(podgate());
            let _ = command.arg("detach").args(self.instance.flags()).output();
        } else {
            self.detach();
        }
    }
}
