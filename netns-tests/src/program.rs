//! The podgate program: run it, ask it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use podgate_control::agent::Paths;
use podgate_control::api::{Client, EventRecord, InForce, PortStatus, Status};
use podgate_control::source::Directory;
use podgate_control::tools::Survey;

use crate::space::{Finished, finish};
use crate::{Events, wait_until};

/// How long anything that the gateway does by itself may take, here, on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program, built if need be, and podgate-cni beside it; `PODGATE_BIN` names another one.
pub fn podgate() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("PODGATE_BIN") {
            return given.into();
        }
        // <target>/<profile>/deps/<test>: the program stands beside `deps`.
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.parent().and_then(|dir| match dir.file_name() {
            Some(name) if name == "deps" => dir.parent(),
            _ => Some(dir),
        });
        let profile = profile.expect("a target directory");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "-p", "podgate-control", "--bins"]);
        if profile.file_name().is_some_and(|name| name == "release") {
            cargo.arg("--release");
        }
        let built = finish(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(built.code, 0, "{}", built.stderr);
        profile.join("podgate")
    })
}

/// A gateway by its name: what can be asked of it from outside.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Where it keeps its files, if not in the usual place.
    pub run_dir: Option<PathBuf>,
}

impl Instance {
    /// `podgate <words> --name <name>`, not yet run.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(podgate());
        command.args(words).args(self.flags());
        command
    }

    /// The options that single it out.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--name".into(), self.name.clone()];
        if let Some(dir) = &self.run_dir {
            flags.extend(["--run-dir".into(), dir.display().to_string()]);
        }
        flags
    }

    /// Runs `podgate <words> --name <name>`.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> Finished {
        finish(&mut self.command(words))
    }

    /// Its status; `None` while it does not answer.
    pub fn try_status(&self) -> Option<Status> {
        let finished = self.ask(&["status", "-o", "json"]);
        (finished.code == 0).then(|| {
            serde_json::from_str(&finished.stdout)
                .unwrap_or_else(|error| panic!("podgate status -o json: {error}: {}", finished.stdout))
        })
    }

    /// Its status.
    #[track_caller]
    pub fn status(&self) -> Status {
        self.try_status().unwrap_or_else(|| panic!("{}: {}", self.name, self.ask(&["status"]).stderr))
    }

    /// What its policy in force was compiled from.
    #[track_caller]
    pub fn in_force(&self) -> InForce {
        let run_dir = self.run_dir.clone().unwrap_or_else(|| "/run/podgate".into());
        let client = Client::new(&Paths::new(&run_dir, &self.name).socket());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(client.in_force()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Waits until the policies of these manifests are in force, by a later snapshot than that one; returns how long
    /// that took. Snapshots have other reasons than policies, too.
    #[track_caller]
    pub fn wait_for_policies(&self, manifests: &Path, after: Option<u32>) -> Duration {
        let wanted = Directory::new([manifests]).load().expect("good manifests").cluster;
        wait_until("the edited policies are in force", PATIENCE, || {
            self.status().epoch > after && {
                let found = Survey::of_gateway(self.in_force()).expect("objects");
                found.cluster.policies() == wanted.policies()
            }
        })
    }

    /// Status of the port behind which the pod is.
    #[track_caller]
    pub fn port_of(&self, pod: &str) -> PortStatus {
        let ports = self.status().ports;
        let found = ports.iter().find(|port| port.pod.as_deref() == Some(pod));
        found.unwrap_or_else(|| panic!("no port of {pod}: {ports:?}")).clone()
    }

    /// Drops of one reason at the pod's port.
    #[track_caller]
    pub fn drops_of(&self, pod: &str, reason: &str) -> u64 {
        self.port_of(pod).drops.get(reason).copied().unwrap_or(0)
    }

    /// Waits until every one of `pods` is behind a port, a snapshot is in force and workers live.
    #[track_caller]
    pub fn wait_for_pods<'a>(&self, pods: impl IntoIterator<Item = &'a str>) {
        let pods: Vec<_> = pods.into_iter().collect();
        wait_until(&format!("{} guards {pods:?}", self.name), PATIENCE, || {
            let Some(status) = self.try_status() else { return false };
            let behind: Vec<_> = status.ports.iter().filter_map(|port| port.pod.as_deref()).collect();
            status.epoch.is_some()
                && pods.iter().all(|pod| behind.contains(pod))
                && status.workers.iter().all(|worker| worker.alive)
        });
    }

    /// Events kept so far, oldest first.
    #[track_caller]
    pub fn events(&self, words: &[&str]) -> Vec<EventRecord> {
        let finished = self.ask(&[&["observe", "-o", "json"], words].concat());
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout.lines().map(crate::events::parse).collect()
    }

    /// Events as they come, those kept so far first.
    pub fn follow(&self, words: &[&str]) -> Events {
        Events::of(self.command(&[&["observe", "--follow", "-o", "json"], words].concat()))
    }
}
