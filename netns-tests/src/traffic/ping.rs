//! Loss and round-trip times.

use std::net::IpAddr;

use crate::Space;

/// What `ping` summed up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ping {
    /// Requests sent.
    pub sent: u32,
    /// Replies received.
    pub received: u32,
    /// Mean round-trip time in milliseconds; 0 without any reply.
    pub mean_ms: f64,
    /// Longest round-trip time in milliseconds; 0 without any reply.
    pub longest_ms: f64,
}

impl Ping {
    /// Requests without a reply.
    pub fn lost(&self) -> u32 {
        self.sent - self.received
    }
}

/// Pings from `space`; `options` as of iputils' ping (`-c 5 -i 0.2 -W 2`).
#[track_caller]
pub fn ping(space: &Space, to: impl Into<IpAddr>, options: &str) -> Ping {
    let finished = space.try_sh(&format!("ping -q -n {options} {}", to.into()));
    read(&finished.stdout)
        .unwrap_or_else(|| panic!("{}: {}{}", finished.line, finished.stdout, finished.stderr))
}

fn read(text: &str) -> Option<Ping> {
    let summary = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut counts = summary.split(',').map(|part| part.trim().split(' ').next()?.parse::<u32>().ok());
    let (sent, received) = (counts.next()??, counts.next()??);
    // rtt min/avg/max/mdev = 0.027/0.041/0.062/0.011 ms
    let times = text.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
    let mut times = times.into_iter().flat_map(|times| times.split('/').skip(1)).map(str::parse::<f64>);
    let mut time = || times.next().and_then(Result::ok).unwrap_or(0.0);
    Some(Ping { sent, received, mean_ms: time(), longest_ms: time() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n\n--- 10.0.0.1 ping statistics ---\n\
            5 packets transmitted, 4 received, 20% packet loss, time 4098ms\n\
            rtt min/avg/max/mdev = 0.027/0.041/0.062/0.011 ms\n";
        assert_eq!(read(text), Some(Ping { sent: 5, received: 4, mean_ms: 0.041, longest_ms: 0.062 }));
        let text = "3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2ms\n";
        assert_eq!(read(text), Some(Ping { sent: 3, received: 0, mean_ms: 0.0, longest_ms: 0.0 }));
        assert_eq!(read("ping: connect: Network is unreachable"), None);
    }
}
