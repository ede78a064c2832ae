//! `podgate config`: what a configuration file and everything else come to.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Subcommand};
use serde::Serialize;

use super::layers::{self, Layered, Origin};
use super::status::Format;
use super::survey::mistakes;
use super::{Failure, Outcome};

/// Look at the configuration of `podgate run`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate config check podgate.yaml\n  \
    podgate config show --config podgate.yaml")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Show(ShowArgs),
    Check(CheckArgs),
}

/// Print what `podgate run` would be told with these flags, this environment and this file, and by whom.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate config show --config podgate.yaml --workers 2\n\n\
    A flag counts before the environment, that before the file, that before the default. What is printed is a\n\
    configuration file again.")]
struct ShowArgs {
    /// How to print it: a table is YAML with comments.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Check a configuration file: every entry an option of `podgate run`, every value one that it takes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate config check /etc/podgate/podgate.yaml\n\n\
    Exit code: 0 if it can be used, 2 if not.")]
struct CheckArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &ConfigArgs, layered: &Layered) -> Outcome {
    match &args.command {
        ConfigCommand::Show(args) => show(args, layered),
        ConfigCommand::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> Outcome {
    match layers::read(&args.file, &layers::command()) {
        Ok(found) => {
            let what = match found.settings.len() {
                0 => "it sets nothing; every option is as without it".to_owned(),
                1 => "1 entry, an option with a value it takes".to_owned(),
                many => format!("{many} entries, each of them an option with a value it takes"),
            };
            println!("{}: {what}", args.file.display());
            Ok(())
        }
        Err(failed) => {
            mistakes(&failed);
            Err(Failure::Code(2))
        }
    }
}

/// One option, for programs.
#[derive(Debug, Serialize)]
struct Shown {
    option: String,
    values: Vec<String>,
    /// `flag`, `environment`, `file`, `default` or `none`.
    source: &'static str,
    /// The variable, or file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip)]
    takes_many: bool,
    #[serde(skip)]
    is_flag: bool,
}

fn show(args: &ShowArgs, layered: &Layered) -> Outcome {
    let command = layers::command();
    let told =
        layered.matches.subcommand_matches("config").and_then(|config| config.subcommand_matches("show"));
    let Some(told) = told else { return Ok(()) };
    let options = layers::options(&command);
    // What is hidden is not for people, unless somebody uses it.
    let mut shown: Vec<Shown> = options
        .iter()
        .map(|option| (option, shown(option, told, layered)))
        .filter(|(option, shown)| !option.is_hide_set() || !["default", "none"].contains(&shown.source))
        .map(|(_, shown)| shown)
        .collect();
    shown.sort_by(|one, other| one.option.cmp(&other.option));
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?,
        Format::Table => out.write_all(yaml(&shown).as_bytes())?,
    }
    Ok(())
}

fn shown(option: &Arg, told: &ArgMatches, layered: &Layered) -> Shown {
    let key = option.get_long().unwrap_or_default();
    let origin = layered.origins.get(key).unwrap_or(&Origin::Nowhere);
    let (source, place) = match origin {
        Origin::Flag => ("flag", None),
        Origin::Environment(variable) => ("environment", Some(variable.clone())),
        Origin::File { file, line } => ("file", Some(format!("{}:{line}", file.display()))),
        Origin::Default => ("default", None),
        Origin::Nowhere => ("none", None),
    };
    let is_flag = matches!(option.get_action(), ArgAction::SetTrue);
    let values = if is_flag {
        vec![told.get_flag(option.get_id().as_str()).to_string()]
    } else {
        let raw = told.get_raw(option.get_id().as_str());
        raw.map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
            .unwrap_or_default()
    };
    let takes_many = matches!(option.get_action(), ArgAction::Append);
    Shown { option: key.into(), values, source, place, takes_many, is_flag }
}

/// As a configuration file, with where everything comes from behind it.
fn yaml(shown: &[Shown]) -> String {
    let mut lines = Vec::new();
    for Shown { option, values, source, place, takes_many, is_flag } in shown {
        // JSON is YAML: quoted, nothing is taken for something else.
        let quoted = |text: &String| {
            if *is_flag { text.clone() } else { serde_json::Value::from(text.as_str()).to_string() }
        };
        let value = match &values[..] {
            [] => String::new(),
            [one] if !takes_many => quoted(one),
            several => format!("[{}]", several.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        };
        let entry = if values.is_empty() { format!("# {option}:") } else { format!("{option}: {value}") };
        let place = place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
        let source = if *source == "none" { "not set" } else { source };
        lines.push((entry, format!("{source}{place}")));
    }
    let width = lines.iter().map(|(entry, _)| entry.len()).max().unwrap_or(0).min(48);
    let mut text = String::new();
    for (entry, from) in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{entry:width$}  # {from}");
    }
    text
}
