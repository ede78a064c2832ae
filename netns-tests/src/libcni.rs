//! The library by which container runtimes call plugins (libcni, written in Go), in a program of a few lines.
//!
//! Packages golang-go and golang-github-appc-cni-dev.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::Node;
use crate::cni::{Container, DEBIANS, Network, OURS};
use crate::program::podgate;
use crate::space::{Finished, finish};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/libcni/runtime.go");
/// Where Debian keeps what is written in Go.
const GOPATH: &str = "/usr/share/gocode";

/// A runtime with one network, of the file that it reads.
#[derive(Debug)]
pub struct Runtime {
    dir: TempDir,
    network: String,
}

impl Runtime {
    /// Builds it, and writes the network where it looks.
    #[track_caller]
    pub fn with(network: &Network) -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-libcni-").tempdir().expect("a directory");
        let runtime = Self { dir, network: network.name().into() };
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(runtime.program()).arg(SOURCE);
        go.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOCACHE", runtime.dir.path().join("built"));
        let built = finish(go.env("CGO_ENABLED", "0"));
        assert_eq!(built.code, 0, "{} (golang-go, golang-github-appc-cni-dev): {}", built.line, built.stderr);
        fs::create_dir(runtime.dir.path().join("net.d")).expect("a directory");
        let path = runtime.dir.path().join("net.d/10-network.conflist");
        fs::write(path, network.list().to_string()).expect("a configuration");
        runtime
    }

    /// Calls the library: `validate`, `add`, `check` or `del`.
    pub fn call(&self, node: &Node, command: &str, container: &Container) -> Finished {
        let plugins = podgate().with_file_name(OURS);
        let ours = plugins.parent().expect("a directory").display();
        let (namespace, name) =
            container.pod.as_ref().and_then(|pod| pod.split_once('/')).expect("a pod's container");
        let mut call = node.space.command(self.program());
        call.arg(command).arg(self.dir.path().join("net.d")).arg(&self.network);
        call.arg(format!("{DEBIANS}:{ours}")).arg(self.dir.path().join("cache"));
        finish(call.arg(&container.id).arg(container.space.netns().path()).args([namespace, name]))
    }

    /// Adds a container; returns the result.
    #[track_caller]
    pub fn add(&self, node: &Node, container: &Container) -> Value {
        let finished = self.call(node, "add", container);
        assert_eq!(finished.code, 0, "{}: {}", finished.line, finished.stderr);
        serde_json::from_str(&finished.stdout).expect("a result is JSON")
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("runtime")
    }
}
