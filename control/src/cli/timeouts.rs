//! Timeouts of flows, by name.

use std::str::FromStr;
use std::time::Duration;

use podgate_flowtable::Timeouts;

type Field = fn(&mut Timeouts) -> &mut Duration;

/// The fields of [`Timeouts`], by the names that operators give them.
const NAMED: [(&str, Field); 19] = [
    ("tcp-syn-sent", |timeouts| &mut timeouts.tcp_syn_sent),
    ("tcp-syn-recv", |timeouts| &mut timeouts.tcp_syn_recv),
    ("tcp-established", |timeouts| &mut timeouts.tcp_established),
    ("tcp-fin-wait", |timeouts| &mut timeouts.tcp_fin_wait),
    ("tcp-close-wait", |timeouts| &mut timeouts.tcp_close_wait),
    ("tcp-last-ack", |timeouts| &mut timeouts.tcp_last_ack),
    ("tcp-time-wait", |timeouts| &mut timeouts.tcp_time_wait),
    ("tcp-close", |timeouts| &mut timeouts.tcp_close),
    ("tcp-unassured", |timeouts| &mut timeouts.tcp_unassured),
    ("udp-unreplied", |timeouts| &mut timeouts.udp_unreplied),
    ("udp-stream", |timeouts| &mut timeouts.udp_stream),
    ("icmp", |timeouts| &mut timeouts.icmp),
    ("sctp-cookie-wait", |timeouts| &mut timeouts.sctp_cookie_wait),
    ("sctp-cookie-echoed", |timeouts| &mut timeouts.sctp_cookie_echoed),
    ("sctp-established", |timeouts| &mut timeouts.sctp_established),
    ("sctp-shutdown", |timeouts| &mut timeouts.sctp_shutdown),
    ("sctp-closed", |timeouts| &mut timeouts.sctp_closed),
    ("generic", |timeouts| &mut timeouts.generic),
    ("denied", |timeouts| &mut timeouts.denied),
];

/// Below, a flow could be forgotten between a packet and its answer.
const SHORTEST: Duration = Duration::from_secs(1);
/// Beyond, it is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// One timeout that is not the default, as in `tcp-established=1h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timeout {
    /// In [`NAMED`].
    index: usize,
    duration: Duration,
}

/// A text that says no timeout.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(super) enum BadTimeout {
    #[error("use NAME=DURATION, as in tcp-established=1h or udp-stream=3m; the names are {}", names())]
    Form,
    #[error("there is no timeout {name:?}; the names are {}", names())]
    Name { name: String },
    #[error("{name}: {error}; use a number and a unit, as in 90s, 5m, 1h or 5days")]
    Duration { name: &'static str, error: humantime::DurationError },
    #[error("{name}: use a time from 1 second to 365 days")]
    Range { name: &'static str },
}

fn names() -> String {
    NAMED.map(|(name, _)| name).join(", ")
}

impl FromStr for Timeout {
    type Err = BadTimeout;

    fn from_str(text: &str) -> Result<Self, BadTimeout> {
        let (name, duration) = text.split_once('=').ok_or(BadTimeout::Form)?;
        let index = NAMED.iter().position(|(known, _)| *known == name);
        let index = index.ok_or_else(|| BadTimeout::Name { name: name.into() })?;
        let name = NAMED[index].0;
        let duration =
            humantime::parse_duration(duration).map_err(|error| BadTimeout::Duration { name, error })?;
        if !(SHORTEST..=LONGEST).contains(&duration) {
            return Err(BadTimeout::Range { name });
        }
        Ok(Self { index, duration })
    }
}

impl std::fmt::Display for Timeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let duration = humantime::format_duration(self.duration).to_string().replace(' ', "");
        write!(f, "{}={duration}", NAMED[self.index].0)
    }
}

/// The defaults, but for those that are given; the last one of a name counts.
pub(super) fn timeouts(given: &[Timeout]) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for timeout in given {
        *NAMED[timeout.index].1(&mut timeouts) = timeout.duration;
    }
    timeouts
}

/// A time after the start, which may be none.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).ok().filter(|grace| *grace <= LONGEST);
    parsed.ok_or_else(|| "use a number and a unit, as in 90s or 5m, up to 365 days; or 0".into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn told(text: &str) -> String {
        text.parse::<Timeout>().unwrap_err().to_string()
    }

    #[test]
    fn every_field_has_its_name() {
        let fields = format!("{:?}", Timeouts::default()).matches(": ").count();
        assert_eq!(NAMED.len(), fields);
        for (name, _) in NAMED {
            let timeout: Timeout = format!("{name}=2h3m4s").parse().unwrap();
            let changed = format!("{:?}", timeouts(&[timeout]));
            let field = name.replace('-', "_");
            assert!(changed.contains(&format!(" {field}: 7384s")), "{name}: {changed}");
            assert_eq!(timeout.to_string().parse(), Ok(timeout));
        }
    }

    #[test]
    fn the_last_one_counts_and_the_others_stay() {
        let given = ["icmp=5s", "generic=1m", "icmp=365days"].map(|text| text.parse().unwrap());
        let expected = Timeouts { icmp: LONGEST, generic: Duration::from_mins(1), ..Timeouts::default() };
        assert_eq!(timeouts(&given), expected);
        assert_eq!(timeouts(&[]), Timeouts::default());
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for text in ["tcp_established=1h", "udp=1h", "=1h"] {
            assert!(
                told(text).contains("there is no timeout") && told(text).contains("udp-stream"),
                "{text}"
            );
        }
        assert!(told("icmp").contains("NAME=DURATION") && told("icmp").contains("sctp-closed"));
        for text in ["icmp=", "icmp=30", "icmp=long", "icmp=-1s", "icmp=1s;"] {
            assert!(told(text).starts_with("icmp: ") && told(text).contains("90s"), "{text}: {}", told(text));
        }
        for text in ["icmp=0", "icmp=0s", "icmp=999ms", "icmp=366days", "icmp=1000years"] {
            assert!(told(text).contains("from 1 second to 365 days"), "{text}: {}", told(text));
        }
    }

    #[test]
    fn the_guide_lists_every_timeout_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flows.md");
        let guide = fs::read_to_string(path).unwrap();
        let (_, section) = guide.split_once("\n## Timeouts\n").unwrap();
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: Vec<_> = rows
            .map(|row| {
                let (name, rest) = row.split_once("` | ").unwrap();
                (name, rest.split(" |").next().unwrap().to_owned())
            })
            .collect();
        let mut defaults = Timeouts::default();
        let expected = NAMED.map(|(name, field)| (name, humantime::format_duration(*field(&mut defaults))));
        let expected = expected.map(|(name, default)| (name, default.to_string().replace(' ', "")));
        assert_eq!(listed, expected);
    }
}
