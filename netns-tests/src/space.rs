//! A network namespace to run things in.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use podgate_control::net::Netns;

/// A network namespace; one that was made here is deleted with it.
#[derive(Debug)]
pub struct Space {
    name: String,
    netns: Netns,
    made_here: bool,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command, for messages.
    pub line: String,
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Space {
    /// A new namespace, its loopback up.
    pub fn create(name: &str) -> Self {
        let netns = Netns::create(name).unwrap_or_else(|error| panic!("{error}"));
        let space = Self { name: name.into(), netns, made_here: true };
        space.sh("ip link set lo up");
        space
    }

    /// One that somebody else made and deletes.
    #[track_caller]
    pub fn open(name: &str) -> Self {
        let netns = Netns::open(name).unwrap_or_else(|error| panic!("{error}"));
        Self { name: name.into(), netns, made_here: false }
    }

    /// Whether a namespace of that name exists.
    pub fn exists(name: &str) -> bool {
        Netns::named_path(name).is_ok_and(|path| path.exists())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace itself.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs `work` on a thread in the namespace. Sockets opened in it stay there.
    #[track_caller]
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A command that will run in the namespace. (`ip netns exec` would hide bpf file systems.)
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a line of words; returns what it wrote. Panics if it fails.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        let finished = self.try_sh(line);
        assert_eq!(finished.code, 0, "{}: {line}: {}{}", self.name, finished.stderr, finished.stdout);
        finished.stdout
    }

    /// Runs a line of words.
    #[track_caller]
    pub fn try_sh(&self, line: &str) -> Finished {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a command"));
        finish(command.args(words))
    }

    /// Runs many `ip` commands at once.
    #[track_caller]
    pub fn ip_batch(&self, lines: &str) {
        let mut command = self.command("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("ip (package iproute2)");
        child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("ip reads its batch");
        let output = child.wait_with_output().expect("ip ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: ip -batch: {stderr}\n{lines}", self.name);
    }

    /// Reads a device's attribute with `ip -j`.
    #[track_caller]
    pub fn link(&self, device: &str) -> serde_json::Value {
        let text = self.sh(&format!("ip -d -j link show dev {device}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("ip writes JSON");
        links[0].clone()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.made_here {
            let _ = Netns::delete_at(self.netns.path());
        }
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    let line = format!("{command:?}");
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    Finished {
        line,
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
