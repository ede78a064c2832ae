//! The lab's gateway: started on its bridge, and taken down before the lab.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DEFAULT_DIRECTORY, Lab, LabError};
use crate::agent::{self, Paths};

/// The gateway among a lab's processes.
const ROLE: &str = "gateway";
/// The file of a lab's directory that says where its gateway keeps its own.
const RUN_DIR: &str = "run-dir";
/// The file of a lab's directory with what the gateway logs.
const LOG: &str = "gateway.log";

impl Lab {
    /// Starts the gateway on the lab's bridge, under the lab's name; returns once policy is in force on
    /// every port. `arguments` are further ones of `podgate run`.
    pub fn start_gateway(&self, run_dir: &Path, arguments: &[OsString]) -> Result<(), LabError> {
        let failed = |path: &Path, operation| {
            let path = path.to_owned();
            move |source| LabError::Record { path, operation, source }
        };
        let told = self.directory().join(RUN_DIR);
        let run_dir = std::path::absolute(run_dir).map_err(failed(run_dir, "find it"))?;
        fs::write(&told, run_dir.as_os_str().as_encoded_bytes()).map_err(failed(&told, "write it"))?;
        let log_path = self.directory().join(LOG);
        let log = File::create(&log_path).map_err(failed(&log_path, "write it"))?;
        let program = std::env::current_exe();
        let mut command = Command::new(program.map_err(failed(Path::new("/proc/self/exe"), "find it"))?);
        command.arg("run").args(["--bridge", self.bridge(), "--name", self.name(), "--on-exit", "detach"]);
        command.arg("--run-dir").arg(run_dir).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // Everything was said with flags; how to log is for whoever called us.
        let is_option = |name: &OsString| {
            name.to_str().is_some_and(|name| name.starts_with("PODGATE_") && !name.starts_with("PODGATE_LOG"))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_option(name)) {
            command.env_remove(name);
        }
        // Not in the group of whoever runs this: a Ctrl-C in a script would take the guard down later.
        command.process_group(0);
        let mut gateway = self.spawn_in_node(ROLE, command)?;
        // It says one line once policy is in force on every port, or ends without.
        let mut line = String::new();
        if let Some(said) = gateway.stdout.take() {
            let read = BufReader::new(said).read_line(&mut line);
            read.map_err(failed(&log_path, "hear the gateway beside it"))?;
        }
        if line.is_empty() {
            let _ = gateway.wait();
            let log = self.gateway_log();
            return Err(LabError::Gateway { lab: self.name().into(), log: log.trim_end().into() });
        }
        Ok(())
    }

    /// What the gateway has logged so far.
    pub fn gateway_log(&self) -> String {
        fs::read_to_string(self.directory().join(LOG)).unwrap_or_default()
    }

    /// Where the gateway of a lab was told to keep its files.
    pub fn gateway_run_dir(name: &str) -> Option<PathBuf> {
        let lab = Self::open(name).ok()?;
        fs::read_to_string(lab.directory().join(RUN_DIR)).ok().map(PathBuf::from)
    }

    /// Takes a lab and its gateway down. The gateway first, so that it can take its own things down;
    /// then what it has left, if it was killed; then the lab, whatever became of the gateway's things.
    pub async fn take_down(name: &str, run_dir: &Path) -> Result<(), LabError> {
        let detached = take_gateway_down(name, run_dir).await;
        Self::down_named(Path::new(DEFAULT_DIRECTORY), name).await?;
        // What all labs share goes with the last one.
        for shared in [Path::new(DEFAULT_DIRECTORY), run_dir] {
            let _ = fs::remove_dir(shared);
        }
        detached
    }
}

async fn take_gateway_down(name: &str, run_dir: &Path) -> Result<(), LabError> {
    let paths = Paths::new(run_dir, name);
    if let Ok(lab) = Lab::open(name) {
        lab.stop_in_node(ROLE)?;
        if let Ok(node) = lab.node() {
            node.run_async(|| agent::detach(&paths, name))??;
        }
    }
    // Where the node's namespace cannot be entered any more, its devices are gone with it.
    agent::detach(&paths, name).await?;
    Ok(())
}
