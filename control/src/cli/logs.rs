//! What is logged, and how it looks.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// What libraries say of every message that they do not know is nobody's concern. Only naming them in --log
/// brings it back. What kube has to say of requests that fail, the source of objects says once and better.
const QUIET: &str =
    "aya=warn,kube_client=off,kube_runtime=off,netlink_proto=error,netlink_packet_route=error";

/// How to log to stderr.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// How to log to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "PODGATE_LOG_FORMAT")]
    log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace or off, or a filter as in info,podgate_control::net=debug.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL|FILTER", value_parser = filter,
          env = "PODGATE_LOG")]
    log: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum LogFormat {
    /// One line a message.
    Text,
    /// One JSON object a message.
    Json,
}

/// A filter that can be followed.
fn filter(text: &str) -> Result<String, String> {
    let is_empty = text.trim().is_empty();
    match EnvFilter::builder().parse(text) {
        Ok(_) if !is_empty => Ok(text.to_owned()),
        Ok(_) => Err("say what to log, or off".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl LogArgs {
    /// From now on, for the whole program.
    pub(super) fn start(&self) {
        let filter = EnvFilter::new(format!("{QUIET},{}", self.log));
        let logs =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
        match self.log_format {
            LogFormat::Text => logs.with_ansi(false).init(),
            LogFormat::Json => logs.json().init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_a_filter_is_taken_and_nothing_else() {
        for text in ["off", "debug", "WARN", "info,podgate_control::net=debug", "podgate_control=trace"] {
            assert_eq!(filter(text).as_deref(), Ok(text), "{text}");
        }
        for text in ["", " ", "a=b=c", "info,x=loud"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
