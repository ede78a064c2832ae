//! What a gateway can be told about its flow table.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::timeouts::{Timeout, grace, timeouts};
use crate::agent::{FlowCapacity, FlowOptions};

/// What a lab's gateway has: labs come and go, several at a time.
const LAB_FLOWS: FlowCapacity = FlowCapacity::Exactly(131_072);

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Flow table")]
pub(super) struct FlowArgs {
    /// Flows that can be tracked at once; auto: by the memory there is [default: auto; in a lab 131072].
    #[arg(long, value_name = "N|auto")]
    flows: Option<FlowCapacity>,
    /// Flows that a pod may open, and as many that may come to it [default: an eighth of --flows].
    #[arg(long, value_name = "N", value_parser = quota)]
    flows_per_pod: Option<NonZeroU32>,
    /// Of these, half-open and unanswered ones [default: a sixty-fourth of --flows].
    #[arg(long, value_name = "N", value_parser = quota)]
    half_open_per_pod: Option<NonZeroU32>,
    /// How long a silent flow is remembered, as in tcp-established=1h,udp-stream=3m; may be given
    /// again. docs/flows.md has the names.
    #[arg(long, value_name = "NAME=DURATION", value_delimiter = ',')]
    timeout: Vec<Timeout>,
    /// For so long after the start, TCP connections are taken up in the middle; 0: never.
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = grace)]
    pickup_grace: Duration,
    /// Huge pages for the flow table: a tenth faster with many flows.
    #[arg(long, value_enum, default_value_t = HugePages::Auto, value_name = "WHETHER")]
    huge_pages: HugePages,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum HugePages {
    /// As far as the kernel has them.
    Auto,
    /// None.
    Off,
}

impl FlowArgs {
    pub(super) fn options(&self) -> FlowOptions {
        FlowOptions {
            capacity: self.flows.unwrap_or(FlowCapacity::Auto),
            per_pod: self.flows_per_pod,
            half_open_per_pod: self.half_open_per_pod,
            timeouts: timeouts(&self.timeout),
            pickup_grace: self.pickup_grace,
            huge_pages: self.huge_pages == HugePages::Auto,
        }
    }

    /// The same, as arguments for the gateway of a lab.
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        };
        let number = |number: Option<NonZeroU32>| number.map(|number| number.to_string());
        add("--flows", Some(self.flows.unwrap_or(LAB_FLOWS).to_string()));
        add("--flows-per-pod", number(self.flows_per_pod));
        add("--half-open-per-pod", number(self.half_open_per_pod));
        for timeout in &self.timeout {
            add("--timeout", Some(timeout.to_string()));
        }
        add("--pickup-grace", Some(humantime::format_duration(self.pickup_grace).to_string()));
        let huge_pages = self.huge_pages.to_possible_value().map(|word| word.get_name().to_owned());
        add("--huge-pages", huge_pages);
        arguments
    }
}

fn quota(text: &str) -> Result<NonZeroU32, String> {
    let number: u32 = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    NonZeroU32::new(number).ok_or_else(|| {
        "with 0, no pod could open anything; to limit nobody, give as many as --flows, or more".into()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Told {
        #[command(flatten)]
        flows: FlowArgs,
    }

    fn told(words: &[&str]) -> Result<FlowArgs, String> {
        let parsed = Told::try_parse_from([&["podgate"], words].concat());
        parsed.map(|told| told.flows).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_say_the_same_again() {
        let words = ["--flows", "5000", "--flows-per-pod", "70", "--half-open-per-pod", "7"];
        let more = ["--timeout", "icmp=5s", "--timeout", "generic=1h30m", "--pickup-grace", "1m 30s"];
        let last = ["--huge-pages", "off"];
        let words = [&words[..], &more, &last].concat();
        assert_eq!(told(&words).unwrap().to_arguments(), words);
        let options = told(&words).unwrap().options();
        assert_eq!(options.capacity, FlowCapacity::Exactly(5000));
        assert_eq!((options.per_pod, options.half_open_per_pod), (NonZeroU32::new(70), NonZeroU32::new(7)));
        assert_eq!(
            options.timeouts,
            timeouts(&["icmp=5s", "generic=1h30m"].map(|text| text.parse().unwrap()))
        );
        assert_eq!((options.pickup_grace.as_secs(), options.huge_pages), (90, false));
    }

    #[test]
    fn who_says_nothing_gets_the_defaults() {
        let silent = told(&[]).unwrap();
        assert_eq!(silent.options(), FlowOptions::default());
        assert_eq!(
            silent.to_arguments(),
            ["--flows", "131072", "--pickup-grace", "1m", "--huge-pages", "auto"]
        );
        assert_eq!(told(&["--flows", "auto"]).unwrap().to_arguments()[..2], ["--flows", "auto"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(told(&["--flows", "0"]).unwrap_err().contains("'auto' or a number from 1"));
        for value in ["", "60", "soon", "366days"] {
            let error = told(&["--pickup-grace", value]).unwrap_err();
            assert!(error.contains("--pickup-grace") && error.contains("365 days"), "{error}");
        }
        assert!(told(&["--pickup-grace", "0"]).unwrap().pickup_grace.is_zero());
    }

    #[test]
    fn timeouts_are_given_in_lists_or_one_by_one() {
        let told = told(&["--timeout", "icmp=5s,generic=1h30m", "--timeout", "udp-stream=10m"]).unwrap();
        let again = told.to_arguments();
        let given = again.iter().filter(|word| word.contains('='));
        assert!(given.eq(["icmp=5s", "generic=1h30m", "udp-stream=10m"]), "{again:?}");
    }

    #[test]
    fn a_quota_of_nothing_is_refused() {
        for flag in ["--flows-per-pod", "--half-open-per-pod"] {
            let error = told(&[flag, "0"]).unwrap_err();
            assert!(error.contains(flag) && error.contains("to limit nobody"), "{error}");
            assert!(told(&[flag, "many"]).is_err() && told(&[flag, "-1"]).is_err());
        }
    }
}
