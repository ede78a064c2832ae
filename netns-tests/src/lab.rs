//! `podgate lab up`, taken down at the end.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread::panicking;
use std::time::Duration;

use tempfile::TempDir;

use crate::name::unique;
use crate::program::{PATIENCE, podgate};
use crate::space::{Finished, finish};
use crate::{Instance, Pod, Space, wait_until};

/// A lab that is up. Dropping it takes it down and looks for what is left.
#[derive(Debug)]
pub struct TestLab {
    /// Its gateway.
    pub instance: Instance,
    dir: TempDir,
}

impl TestLab {
    /// Brings up a lab with that manifest (Node, Namespaces, Pods) and these policies.
    #[track_caller]
    pub fn up(cluster: &str, policies: &str) -> Self {
        Self::up_with(cluster, policies, &[])
    }

    /// The same, with options for its gateway.
    #[track_caller]
    pub fn up_with(cluster: &str, policies: &str, options: &[&str]) -> Self {
        let lab = Self::prepare(cluster, policies);
        let up = lab.try_up(options);
        assert_eq!(up.code, 0, "{}: {}\n{}", up.line, up.stderr, up.stdout);
        lab
    }

    /// All but up: [`TestLab::try_up`] brings it up.
    pub fn prepare(cluster: &str, policies: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-lab-").tempdir().expect("a directory");
        fs::create_dir(dir.path().join("manifests")).expect("a directory");
        let lab = Self { instance: Instance { name: unique("t"), run_dir: None }, dir };
        lab.write("cluster.yaml", cluster);
        lab.write("policies.yaml", policies);
        lab
    }

    /// `podgate lab up`.
    #[track_caller]
    pub fn try_up(&self, options: &[&str]) -> Finished {
        let mut command = Command::new(podgate());
        command.args(["lab", "up"]).arg(self.manifests()).args(["--name", &self.instance.name]);
        finish(command.args(options))
    }

    /// `podgate lab down`.
    #[track_caller]
    pub fn try_down(&self) -> Finished {
        finish(Command::new(podgate()).args(["lab", "down", "--name", &self.instance.name]))
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

    /// The namespace of the node.
    #[track_caller]
    pub fn node(&self) -> Space {
        Space::open(&format!("pg-{}-node", self.instance.name))
    }

    /// The pod `namespace/name`.
    #[track_caller]
    pub fn pod(&self, key: &str) -> Pod {
        let space = format!("pg-{}-{}", self.instance.name, key.replace('/', "-"));
        Pod::found_in(key, Space::open(&space))
    }

    /// `podgate lab exec`.
    #[track_caller]
    pub fn exec(&self, pod: &str, words: &[&str]) -> Finished {
        let mut command = Command::new(podgate());
        command.args(["lab", "exec", "--name", &self.instance.name, pod, "--"]);
        finish(command.args(words))
    }

    /// `podgate lab WORDS` on it.
    #[track_caller]
    pub fn lab(&self, words: &[&str]) -> Finished {
        finish(&mut self.lab_command(words))
    }

    /// The same, which must end well; returns what it says.
    #[track_caller]
    pub fn lab_ok(&self, words: &[&str]) -> String {
        let done = self.lab(words);
        assert_eq!(done.code, 0, "{}: {}\n{}", done.line, done.stderr, done.stdout);
        done.stdout
    }

    /// The command for `podgate lab WORDS` on it.
    pub fn lab_command(&self, words: &[&str]) -> Command {
        let (first, rest) = words.split_first().expect("a command");
        let mut command = Command::new(podgate());
        // First, so that more words may follow.
        command.args(["lab", first, "--name", &self.instance.name]).args(rest);
        command
    }

    /// Writes a manifest outside the lab's folder, for `lab apply -f`.
    #[track_caller]
    pub fn aside(&self, file: &str, text: &str) -> String {
        let path = self.dir.path().join(file);
        fs::write(&path, text).expect("a manifest");
        path.display().to_string()
    }

    /// The addresses of the Service `namespace/name`, IPv4 first.
    #[track_caller]
    pub fn service(&self, key: &str) -> Vec<IpAddr> {
        let (namespace, name) = key.split_once('/').expect("namespace/name");
        let text = self.lab_ok(&["get", "svc", name, "-n", namespace, "-o", "json"]);
        let service: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        serde_json::from_value(service["spec"]["clusterIPs"].clone()).expect("addresses")
    }

    /// What is left of it on the machine, in words.
    pub fn leftovers(&self) -> Vec<String> {
        let name = &self.instance.name;
        let mut left = Vec::new();
        let mut look = |what: &str, dir: &str, is_ours: &dyn Fn(&str) -> bool| {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let found = entry.file_name().to_string_lossy().into_owned();
                if is_ours(&found) {
                    left.push(format!("{what} {dir}/{found}"));
                }
            }
        };
        look("namespace", "/run/netns", &|entry| entry.starts_with(&format!("pg-{name}-")));
        for dir in ["/run/podgate", "/run/podgate/labs", "/run/podgate/bpf", "/sys/fs/bpf/podgate"] {
            look("files", dir, &|entry| entry == name || entry.starts_with(&format!("{name}.")));
        }
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains("podgate") && line.split(' ').any(|word| word == name) {
                left.push(format!("process {}: {line}", process.file_name().to_string_lossy()));
            }
        }
        left
    }

    /// Asserts that nothing of it is left on the machine.
    #[track_caller]
    pub fn assert_gone(&self) {
        // A killed process is there until it is reaped.
        wait_until(
            &format!("nothing is left of {}: {:?}", self.instance.name, self.leftovers()),
            PATIENCE,
            || self.leftovers().is_empty(),
        );
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if panicking() {
            let status = self.instance.ask(&["status"]);
            eprintln!("--- status of lab {}:\n{}{}", self.instance.name, status.stdout, status.stderr);
            let _ = self.try_down();
            return;
        }
        let down = self.try_down();
        assert_eq!(down.code, 0, "{}: {}", down.line, down.stderr);
        self.assert_gone();
    }
}
