//! Responders are started, and known to listen.
//!
//! A responder says when it listens, and ends unless it is then told to stay. It is told so after
//! its process has been recorded: if whoever starts it is killed in between, it goes by itself.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::record::{Directory, Lock, State};
use super::responder::{READY, STAY};
use super::{LabError, LabHost, ListenPort, Process, Protocol, nameserver};
use crate::net::Netns;

/// How many are waited for together: each holds two pipes open.
pub(super) const AT_A_TIME: usize = 64;

/// How long a responder may take to listen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A responder that listens and ends unless released; dropped, it is stopped.
pub(super) struct Listening {
    pub(super) process: Process,
    child: Option<Child>,
}

/// Whether a host is to have one.
pub(super) fn has_responder(host: &LabHost) -> bool {
    ports(host).any(|port| port.protocol != Protocol::Sctp)
}

/// The ports that are the responder's.
fn ports(host: &LabHost) -> impl Iterator<Item = &ListenPort> {
    host.ports.iter().filter(|port| !(host.serves_dns && port.port == nameserver::PORT))
}

/// Starts those hosts' responders and waits until all of them listen.
pub(super) fn start(program: &Path, hosts: &[&LabHost]) -> Result<Vec<Listening>, LabError> {
    start_programs(hosts, |host| command(program, host))
}

/// Starts a program in each host that says what a responder says, and waits until all of them listen.
pub(super) fn start_programs(
    hosts: &[&LabHost],
    command: impl Fn(&LabHost) -> Command,
) -> Result<Vec<Listening>, LabError> {
    let mut started = Vec::with_capacity(hosts.len());
    for host in hosts {
        let netns = Netns::open_at(&host.netns)?;
        let mut command = command(host);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
        // Not in the terminal's group: an interrupt there is not for the lab.
        command.process_group(0);
        let child = netns.spawn(command)?;
        let listening = Listening { process: Process::identify(child.id())?, child: Some(child) };

        started.push(listening);
    }
    let until = Instant::now() + PATIENCE;
    for (listening, host) in started.iter_mut().zip(hosts) {
        let said = listening.first_line(until);
        if said != READY {
            let reason = if said.is_empty() { "it ended without a word".into() } else { said };
            return Err(LabError::Responder { host: host.reference.clone(), reason });
        }
    }
    Ok(started)
}

/// Starts the responders of some hosts of a lab, and records each before it is told to stay.
pub(super) async fn start_all(
    directory: &Directory,
    lock: &Lock,
    state: &mut State,
    program: PathBuf,
    hosts_in: impl Fn(&mut State) -> &mut Vec<LabHost>,
) -> Result<(), LabError> {
    let answering = |(_, host): &(usize, &LabHost)| has_responder(host);
    let hosts: Vec<(usize, LabHost)> = hosts_in(state)
        .iter()
        .enumerate()
        .filter(answering)
        .map(|(index, host)| (index, host.clone()))
        .collect();
    for some in hosts.chunks(AT_A_TIME) {
        let (indexes, hosts): (Vec<usize>, Vec<LabHost>) = some.iter().cloned().unzip();
        let program = program.clone();
        let start = move || start(&program, &hosts.iter().collect::<Vec<_>>());
        let started = tokio::task::spawn_blocking(start).await;
        let started = started.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
        for (index, listening) in indexes.into_iter().zip(&started) {
            hosts_in(state)[index].responder = Some(listening.process.clone());
        }
        directory.write(lock, state)?;
        started.into_iter().for_each(Listening::release);
    }
    Ok(())
}

fn command(program: &Path, host: &LabHost) -> Command {
    let mut command = Command::new(program);
    command.args(["responder", "--supervised", "--pod", &host.reference]);
    for port in ports(host) {
        command.args(["--port", &port.to_string()]);
    }
    command
}

/// The program that runs as responder.
pub(super) fn own_program() -> Result<PathBuf, LabError> {
    std::env::current_exe().map_err(|source| LabError::Record {
        path: "/proc/self/exe".into(),
        operation: "find this program",
        source,
    })
}

impl Listening {
    /// Lets it go on by itself.
    pub(super) fn release(mut self) {
        if let Some(mut child) = self.child.take()
            && let Some(mut input) = child.stdin.take()
        {
            // If it has died since, its ports will tell; the lab is up all the same.
            let _ = input.write_all(STAY.as_bytes());
        }
    }

    fn first_line(&mut self, until: Instant) -> String {
        let Some(output) = self.child.as_mut().and_then(|child| child.stdout.as_mut()) else {
            return String::new();
        };
        let mut line = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            let mut polled = [PollFd::new(&*output, PollFlags::IN)];
            if !matches!(poll(&mut polled, Some(&timeout)), Ok(1..)) {
                return format!("it did not listen within {} s", PATIENCE.as_secs());
            }
            let mut byte = [0];
            match output.read(&mut byte) {
                Ok(1) if byte != *b"\n" => line.extend(byte),
                _ => return String::from_utf8_lossy(&line).into_owned(),
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
