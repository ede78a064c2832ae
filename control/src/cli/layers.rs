//! Where options of `podgate run` come from: a flag, the environment, a file, the default; the first of these
//! that says something counts.
//!
//! clap knows flags, environment and defaults. What a file says that neither of the first two does is put
//! behind the arguments, as if it had been given there. So a file can say what a flag can, and an option that
//! is added to `run` is at once an entry of the file and a variable of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, Id};

use super::Cli;
use crate::source::{Form, Place, Problem, Setting, SourceError, SourceText, Untraced, is_similar, settings};

/// The option that names the file. It cannot be in it.
pub(super) const CONFIG: &str = "config";

/// What the command line says, with what the file adds.
pub(super) struct Layered {
    pub(super) matches: ArgMatches,
    /// By option; empty where the command takes no file.
    pub(super) origins: BTreeMap<String, Origin>,
}

/// Where an option's value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    Flag,
    Environment(String),
    File {
        file: PathBuf,
        line: u64,
    },
    Default,
    /// It has none.
    Nowhere,
}

/// Why a command line cannot be followed.
pub(super) enum Refusal {
    /// It says so itself, help and version included.
    CommandLine(clap::Error),
    /// Something is wrong with the file.
    File(Untraced),
}

/// What a configuration file sets.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    pub(super) settings: Vec<Setting>,
}

/// The whole command line: every option of `run` can come from the environment, and `config show` takes them.
pub(super) fn command() -> Command {
    let command = Cli::command().mut_subcommand("run", |run| run.mut_args(from_environment));
    let options: Vec<Arg> =
        run(&command).get_arguments().map(|option| option.clone().required(false)).collect();
    command.mut_subcommand("config", |config| config.mut_subcommand("show", |show| show.args(options)))
}

fn from_environment(option: Arg) -> Arg {
    let variable = variable(option.get_id().as_str());
    if option.get_env().is_some() { option } else { option.env(variable) }
}

/// The variable of the environment for an option.
pub(super) fn variable(option: &str) -> String {
    format!("PODGATE_{}", option.to_ascii_uppercase().replace('-', "_"))
}

fn built(command: &Command) -> Command {
    let mut run = run(command).clone();
    run.build();
    run
}

fn run(command: &Command) -> &Command {
    command.find_subcommand("run").unwrap_or(command)
}

/// Everything that a file can set, as options: those of `run`, and those of every command.
pub(super) fn options(command: &Command) -> Vec<Arg> {
    let everywhere = command.get_arguments().filter(|option| option.is_global_set());
    let all = run(command).get_arguments().chain(everywhere);
    let settable = |option: &&Arg| option.get_id() != CONFIG && option.get_long().is_some();
    all.filter(settable).cloned().collect()
}

/// Follows `arguments`, the program's name first.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Layered, Refusal> {
    let command = command();
    let Some(told) = first_look(&command, &arguments) else {
        return followed(command, arguments, BTreeMap::new());
    };
    let options = options(&command);
    let file = match told.get_one::<PathBuf>(CONFIG) {
        Some(path) => Some(read(path, &command).map_err(Refusal::File)?),
        None => None,
    };
    let mut arguments = arguments;
    let built = built(&command);
    let mut origins = BTreeMap::new();
    for option in &options {
        let key = option.get_long().unwrap_or_default();
        let in_file = file.as_ref().and_then(|file| file.find(key));
        // A flag or variable for another source of policy counts before the file's.
        let in_file = in_file.filter(|_| !is_ruled_out(&built, option, &told));
        let origin = match (told.value_source(option.get_id().as_str()), in_file) {
            (Some(ValueSource::CommandLine), _) => Origin::Flag,
            (Some(ValueSource::EnvVariable), _) => {
                let variable = option.get_env().map(|name| name.to_string_lossy().into_owned());
                Origin::Environment(variable.unwrap_or_default())
            }
            (_, Some((file, setting))) => {
                arguments.extend(as_arguments(option, setting));
                Origin::File { file: file.into(), line: setting.line() }
            }
            (Some(_), None) => Origin::Default,
            (None, None) => Origin::Nowhere,
        };
        origins.insert(key.to_owned(), origin);
    }
    followed(command, arguments, origins)
}

fn followed(
    command: Command,
    arguments: Vec<OsString>,
    origins: BTreeMap<String, Origin>,
) -> Result<Layered, Refusal> {
    let matches = command.try_get_matches_from(arguments).map_err(Refusal::CommandLine)?;
    Ok(Layered { matches, origins })
}

/// What flags and environment say to a command that takes a file, whatever else is wrong with them: that is
/// told when they are followed.
fn first_look(command: &Command, arguments: &[OsString]) -> Option<ArgMatches> {
    let told = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    match told.subcommand()? {
        ("run", run) => Some(run.clone()),
        ("config", config) => config.subcommand_matches("show").cloned(),
        _ => None,
    }
}

/// Whether flags or environment say an option that excludes this one.
fn is_ruled_out(run: &Command, option: &Arg, told: &ArgMatches) -> bool {
    let is_said = |id: &Id| {
        let source = told.value_source(id.as_str());
        id != option.get_id() && matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    exclusive(run).iter().any(|members| members.contains(option.get_id()) && members.iter().any(is_said))
}

/// Options of which one can be said. Groups know their options once a command is built.
fn exclusive(built: &Command) -> Vec<Vec<Id>> {
    let groups = built.get_groups().cloned().filter_map(|mut group| (!group.is_multiple()).then_some(group));
    groups.map(|group| group.get_args().cloned().collect()).collect()
}

fn as_arguments(option: &Arg, setting: &Setting) -> Vec<OsString> {
    let key = &setting.key;
    let values = setting.values.iter().map(|value| value.text.as_str());
    match option.get_action() {
        ArgAction::SetTrue => {
            values.filter(|text| *text == "true").map(|_| format!("--{key}").into()).collect()
        }
        _ => values.map(|text| format!("--{key}={text}").into()).collect(),
    }
}

impl ConfigFile {
    fn find(&self, key: &str) -> Option<(&Path, &Setting)> {
        let found = self.settings.iter().find(|setting| setting.key == key)?;
        Some((&self.path, found))
    }
}

/// Reads a file and judges every entry of it by what `run` takes.
pub(super) fn read(path: &Path, command: &Command) -> Result<ConfigFile, Untraced> {
    let text = fs::read_to_string(path).map_err(|error| {
        let place = Place { file: path.into(), document: None, line: None };
        let problem = Problem::Unreadable { reason: error.to_string() };
        let error = SourceError { place, object: None, field: String::new(), problem, span: None };
        Untraced { errors: vec![error], texts: Vec::new() }
    })?;
    let text: Arc<str> = text.into();
    let refused =
        |errors| Untraced { errors, texts: vec![SourceText { file: path.into(), text: Arc::clone(&text) }] };
    let settings = settings(&text, path).map_err(refused)?;
    let options = options(command);
    let checker = checker(command, &options);
    let mut errors: Vec<SourceError> =
        settings.iter().flat_map(|setting| judge(setting, path, &options, &checker)).collect();
    errors.extend(
        exclusive(&built(command)).iter().flat_map(|group| judge_group(group, &settings, path, &options)),
    );
    if errors.is_empty() { Ok(ConfigFile { path: path.into(), settings }) } else { Err(refused(errors)) }
}

/// `run` alone, to be asked about one value at a time: nothing is required, and no environment plays a part.
fn checker(command: &Command, options: &[Arg]) -> Command {
    let run = run(command).clone().no_binary_name(true);
    let everywhere = options.iter().filter(|option| option.is_global_set()).cloned();
    run.args(everywhere).mut_args(|option| option.required(false).env(Resettable::Reset))
}

fn judge(setting: &Setting, file: &Path, options: &[Arg], checker: &Command) -> Vec<SourceError> {
    let is_meant = |option: &&Arg| option.get_long() == Some(setting.key.as_str());
    let Some(option) = options.iter().find(is_meant) else {
        let names = || options.iter().filter_map(Arg::get_long);
        let remedy = match names().find(|name| is_similar(name, &setting.key)) {
            _ if setting.key == CONFIG => "remove it: one file cannot name another".to_owned(),
            Some(name) => format!("did you mean {name}?"),
            None => {
                "remove it; 'podgate run --help' lists the options, and each is an entry of that name".into()
            }
        };
        let reason = "there is no such option".to_owned();
        return vec![setting.error(file, Problem::Setting { reason, remedy })];
    };
    let takes_many = matches!(option.get_action(), ArgAction::Append);
    if setting.form != Form::Scalar && !takes_many {
        let remedy = format!("write one value, as in --{}", setting.key);
        let reason = "it takes one value, not several".to_owned();
        return vec![setting.error(file, Problem::Setting { reason, remedy })];
    }
    if setting.form == Form::Mapping && !takes_pairs(option) {
        let reason = "it takes a list, not a mapping".to_owned();
        let remedy = "write the values as a list: [first, second]".to_owned();
        return vec![setting.error(file, Problem::Setting { reason, remedy })];
    }
    let wrong = setting.values.iter().filter_map(|value| {
        let problem = judge_value(option, &setting.key, &value.text, checker)?;
        Some(setting.value_error(file, value, problem))
    });
    wrong.collect()
}

/// Of options of which one can be said, all but the first one are a mistake.
fn judge_group(group: &[Id], settings: &[Setting], file: &Path, options: &[Arg]) -> Vec<SourceError> {
    let is_member = |setting: &&Setting| {
        let option = options.iter().find(|option| option.get_long() == Some(setting.key.as_str()));
        let is_false = setting.values.iter().all(|value| value.text == "false");
        option.is_some_and(|option| group.contains(option.get_id())) && !is_false
    };
    let mut said = settings.iter().filter(is_member);
    let Some(first) = said.next() else { return Vec::new() };
    let again = said.map(|setting| {
        let reason = format!("it cannot be beside {}, in line {}", first.key, first.line());
        setting.error(file, Problem::Setting { reason, remedy: "remove one of them".to_owned() })
    });
    again.collect()
}

/// Whether its values are written `NAME=VALUE`.
fn takes_pairs(option: &Arg) -> bool {
    option.get_value_names().is_some_and(|names| names.iter().any(|name| name.contains('=')))
}

fn judge_value(option: &Arg, key: &str, text: &str, checker: &Command) -> Option<Problem> {
    if matches!(option.get_action(), ArgAction::SetTrue) {
        let reason = format!("{text:?} is neither true nor false");
        let remedy = "write true or false".to_owned();
        return (!["true", "false"].contains(&text)).then_some(Problem::Setting { reason, remedy });
    }
    let error = checker.clone().try_get_matches_from([format!("--{key}={text}")]).err()?;
    // What is missing besides is no business of one value.
    if error.kind() == ErrorKind::MissingRequiredArgument {
        return None;
    }
    let why = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    let reason = format!("{text:?} is no value for it{why}");
    let remedy = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("use one of {}", values.join(", ")),
        _ => format!("'podgate run --help' says what --{key} takes"),
    };
    Some(Problem::Setting { reason, remedy })
}

#[cfg(test)]
mod tests;
