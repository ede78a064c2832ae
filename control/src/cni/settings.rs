//! What podgate-cni is told in its own entry of a network configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::conflist::PLUGIN;

/// The local socket of a gateway of the usual name, in the usual place.
pub const DEFAULT_SOCKET: &str = "/run/podgate/default/api.sock";
/// How long a gateway is waited for, unless told otherwise: it may just be restarted.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// A runtime gives up on a plugin after a few minutes itself.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(2);

/// What becomes of a pod whose port cannot be guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Mode {
    /// It is not started.
    #[default]
    Closed,
    /// It is started all the same, unguarded until a gateway finds its port.
    Open,
}

/// The fields of our entry, besides those that every plugin has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `socket`: where the gateway answers.
    pub socket: PathBuf,
    /// `timeout`: how long it is waited for, altogether.
    pub timeout: Duration,
    /// `mode`.
    pub mode: Mode,
}

/// A field that says what it cannot say.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("field {field:?} of podgate-cni is {value}: {remedy}")]
pub struct BadSetting {
    /// Which.
    pub field: &'static str,
    /// What it says, as JSON.
    pub value: String,
    /// What it should say.
    pub remedy: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into(), timeout: DEFAULT_TIMEOUT, mode: Mode::default() }
    }
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

impl Settings {
    /// From the entry's fields. Those that are not ours are let be, as the specification asks.
    pub fn from_fields(fields: &Map<String, Value>) -> Result<Self, BadSetting> {
        let default = Self::default();
        Ok(Self {
            socket: text(fields, "socket", SOCKET, |path| {
                Path::new(path).is_absolute().then(|| path.into())
            })?
            .unwrap_or(default.socket),
            timeout: text(fields, "timeout", TIMEOUT, parse_timeout)?.unwrap_or(default.timeout),
            mode: text(fields, "mode", MODE, |name| {
                [Mode::Closed, Mode::Open].into_iter().find(|mode| mode.name() == name)
            })?
            .unwrap_or(default.mode),
        })
    }

    /// The entry, on one line; what is as usual is left out.
    pub fn entry(&self) -> String {
        let default = Self::default();
        let mut fields = vec![("type", PLUGIN.to_owned())];
        if self.socket != default.socket {
            fields.push(("socket", self.socket.display().to_string()));
        }
        if self.timeout != default.timeout {
            fields.push(("timeout", humantime::format_duration(self.timeout).to_string()));
        }
        if self.mode != default.mode {
            fields.push(("mode", self.mode.name().to_owned()));
        }
        let fields: Vec<_> =
            fields.into_iter().map(|(name, value)| format!("\"{name}\": {}", Value::from(value))).collect();
        format!("{{ {} }}", fields.join(", "))
    }
}

const SOCKET: &str = "give the absolute path of the gateway's socket, as \"/run/podgate/default/api.sock\"";
const TIMEOUT: &str = "give a duration of at most 2m, as \"5s\" or \"500ms\"";
const MODE: &str = "it is \"closed\" (a pod that cannot be guarded does not start) or \"open\"";

/// A timeout that can be meant.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST_TIMEOUT)
}

fn text<T>(
    fields: &Map<String, Value>,
    field: &'static str,
    remedy: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, BadSetting> {
    let Some(value) = fields.get(field) else { return Ok(None) };
    let read = value.as_str().and_then(read);
    read.map(Some).ok_or_else(|| BadSetting { field, value: value.to_string(), remedy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Paths;

    fn fields(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_usual_socket_is_that_of_the_usual_gateway() {
        assert_eq!(Paths::new(Path::new("/run/podgate"), "default").socket(), Path::new(DEFAULT_SOCKET));
    }

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        let other = Settings {
            socket: "/run/other \"x\"/api.sock".into(),
            timeout: Duration::from_millis(1500),
            mode: Mode::Open,
        };
        for settings in [Settings::default(), other] {
            assert_eq!(Settings::from_fields(&fields(&settings.entry())), Ok(settings));
        }
        assert_eq!(Settings::default().entry(), r#"{ "type": "podgate-cni" }"#);
    }

    #[test]
    fn fields_of_others_are_let_be_and_wrong_ones_named() {
        let others = fields(r#"{"ipMasq": 7, "args": {}, "runtimeConfig": null}"#);
        assert_eq!(Settings::from_fields(&others), Ok(Settings::default()));
        for (text, field) in [
            (r#"{"socket": "run/api.sock"}"#, "socket"),
            (r#"{"socket": 1}"#, "socket"),
            (r#"{"timeout": "5"}"#, "timeout"),
            (r#"{"timeout": 5}"#, "timeout"),
            (r#"{"timeout": "0s"}"#, "timeout"),
            (r#"{"timeout": "3m"}"#, "timeout"),
            (r#"{"mode": "Closed"}"#, "mode"),
            (r#"{"mode": null}"#, "mode"),
        ] {
            let bad = Settings::from_fields(&fields(text)).unwrap_err();
            assert_eq!(bad.field, field);
            assert!(text.contains(&bad.value), "{bad}");
        }
    }
}
