//! Processes by number and start time.
//!
//! A number alone is given anew once its process is gone. A process is taken for the one that was
//! started only if boot and start time are the same too, and is signalled through a handle (pidfd)
//! that was opened before that was checked, so that no other process is ever hit.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::LabError;

/// One process, and no later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot (`proc_pid_stat(5)`, field 22).
    pub started_ticks: u64,
    /// The boot it belongs to.
    pub boot: String,
}

impl Process {
    /// The process of that number, which must not have been waited for yet.
    pub fn identify(pid: u32) -> Result<Self, LabError> {
        let read = || Ok((started_ticks(pid)?, boot()?));
        match read() {
            Ok((started_ticks, boot)) => Ok(Self { pid, started_ticks, boot }),
            Err(source) => Err(LabError::Process { pid, operation: "identify it", source }),
        }
    }

    /// Whether it is running. One that has ended but was not waited for is not.
    pub fn is_running(&self) -> bool {
        self.open().is_ok_and(|handle| handle.is_some_and(|handle| !has_ended(&handle, Duration::ZERO)))
    }

    /// A handle of it; none if it is gone.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let same = boot()? == self.boot && started_ticks(self.pid).ok() == Some(self.started_ticks);
        Ok(same.then_some(handle))
    }
}

/// Ends processes: asks, waits that long for all of them together, then insists. Gone ones are no
/// error; children are waited for.
pub(super) fn stop(processes: &[&Process], patience: Duration) -> Result<(), LabError> {
    let error =
        |process: &Process, operation, source| LabError::Process { pid: process.pid, operation, source };
    let mut running = Vec::new();
    for process in processes {
        if let Some(handle) = process.open().map_err(|source| error(process, "open it", source))? {
            running.push((*process, handle));
        }
    }
    let until = Instant::now() + patience;
    let signals: &[Signal] = if patience.is_zero() { &[Signal::KILL] } else { &[Signal::TERM, Signal::KILL] };
    for &signal in signals {
        for (process, handle) in &running {
            match pidfd_send_signal(handle, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(error(process, "signal it", errno.into())),
            }
        }
        running.retain(|(process, handle)| {
            let wait = match signal {
                Signal::KILL => KILL_PATIENCE,
                _ => until.saturating_duration_since(Instant::now()),
            };
            let ended = has_ended(handle, wait);
            if ended {
                reap(process.pid);
            }
            !ended
        });
    }
    match running.first() {
        None => Ok(()),
        Some((process, _)) => Err(error(process, "end it", io::ErrorKind::TimedOut.into())),
    }
}

/// A killed process ends as soon as it leaves the kernel, which a device may delay.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

fn has_ended(handle: &OwnedFd, wait: Duration) -> bool {
    let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    let mut polled = [PollFd::new(handle, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&timeout)), Ok(1..))
}

/// If it is a child of this process, takes its status, so that its number is free again.
fn reap(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = waitpid(nix::unistd::Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }
}

fn started_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may hold anything.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let field = after.split_whitespace().nth(22 - 3);
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn boot() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeper() -> (std::process::Child, Process) {
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let process = Process::identify(child.id()).expect("identified");
        (child, process)
    }

    #[test]
    fn a_process_is_stopped_and_waited_for() {
        let (mut child, process) = sleeper();
        assert!(process.is_running());
        stop(&[&process], Duration::ZERO).expect("stopped");
        assert!(!process.is_running());
        assert!(child.try_wait().is_err(), "nothing is left to wait for");
        stop(&[&process], Duration::ZERO).expect("gone is no error");
    }

    #[test]
    fn one_that_does_not_listen_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo; exec sleep 1000"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("sh");
        let mut line = [0];
        io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut line).expect("it is deaf now");
        let process = Process::identify(child.id()).expect("identified");
        stop(&[&process], Duration::from_millis(50)).expect("stopped");
        assert!(!process.is_running());
        assert!(child.try_wait().is_err(), "nothing is left to wait for");
    }

    #[test]
    fn another_process_of_the_same_number_is_left_alone() {
        let (mut child, process) = sleeper();
        let earlier = Process { started_ticks: process.started_ticks - 1, ..process.clone() };
        let of_another_boot = Process { boot: "another".into(), ..process.clone() };
        for other in [&earlier, &of_another_boot] {
            assert!(!other.is_running());
            stop(&[other], Duration::ZERO).expect("nothing to stop");
        }
        assert!(process.is_running());
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
}
