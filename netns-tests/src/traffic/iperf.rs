//! iperf3, its JSON read.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::Space;
use crate::space::finish;

/// An iperf3 server; ended when dropped.
#[derive(Debug)]
pub struct IperfServer(Child);

/// What to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// One TCP connection, as fast as it goes.
    Tcp,
    /// UDP at so many Mbit/s.
    UdpMbit(u32),
}

/// What iperf3 summed up, over both directions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Iperf {
    /// Bits a second that arrived.
    pub received_bps: f64,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// UDP datagrams that did not arrive.
    pub lost: u64,
    /// UDP datagrams sent.
    pub datagrams: u64,
}

impl IperfServer {
    /// Starts in `space`; returns when it listens. A server serves one client at a time.
    #[track_caller]
    pub fn start(space: &Space, port: u16) -> Self {
        let mut command = space.command("iperf3");
        command.args(["-s", "--forceflush", "-p", &port.to_string()]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("iperf3 (package iperf3)");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("Server listening")), "iperf3 -s ended");
        // Nobody reads on: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for IperfServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Iperf {
    /// Runs a client in `space` for so many seconds; `options` as of iperf3 (`-R`, `--bidir`, `-A 0`).
    pub fn run(
        space: &Space,
        to: impl Into<IpAddr>,
        port: u16,
        load: Load,
        seconds: u32,
        options: &[&str],
    ) -> Result<Self, String> {
        let mut command = space.command("iperf3");
        command.args([
            "-J",
            "-c",
            &to.into().to_string(),
            "-p",
            &port.to_string(),
            "-t",
            &seconds.to_string(),
        ]);
        command.args(["--connect-timeout", "5000"]).args(options);
        if let Load::UdpMbit(rate) = load {
            command.args(["-u", "-b", &format!("{rate}M")]);
        }
        let finished = finish(&mut command);
        let report: Value =
            serde_json::from_str(&finished.stdout).map_err(|_| finished.stderr + &finished.stdout)?;
        if let Some(error) = report["error"].as_str() {
            return Err(error.into());
        }
        Ok(Self::read(&report["end"]))
    }

    fn read(end: &Value) -> Self {
        let number = |sum: &str, field: &str| end[sum][field].as_f64().unwrap_or(0.0);
        let both =
            |sum: &str, field: &str| number(sum, field) + number(&format!("{sum}_bidir_reverse"), field);
        let tcp = !end["sum_received"].is_null() && end["sum"].is_null();
        Self {
            received_bps: both("sum_received", "bits_per_second"),
            retransmits: both("sum_sent", "retransmits") as u64,
            lost: if tcp { 0 } else { both("sum", "lost_packets") as u64 },
            datagrams: if tcp { 0 } else { both("sum", "packets") as u64 },
        }
    }
}
