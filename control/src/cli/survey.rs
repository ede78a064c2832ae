//! Reading what a tool is given: files, or what a running gateway has in force.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Failure, block_on};
use crate::agent::Paths;
use crate::api::Client;
use crate::source::{SourceError, Untraced};
use crate::tools::{AskedGateway, Look, Survey, mistake};

/// What a tool is to look at.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Files and directories with pods or workloads, namespaces, nodes and policies.
    #[arg(value_name = "PATH", required_unless_present = "name", conflicts_with = "name")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    gateway: GatewayName,
}

/// A running gateway to be asked.
#[derive(Debug, Args)]
pub(super) struct GatewayName {
    /// Look at what the running gateway or lab of this name has in force, instead of files.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where gateways keep their files.
    #[arg(long, default_value = "/run/podgate", value_name = "DIR", env = "PODGATE_RUN_DIR")]
    run_dir: PathBuf,
}

impl SourceArgs {
    /// Reads it; what of it plays no part goes to stderr.
    pub(super) fn survey(&self) -> Result<Survey, Failure> {
        let Some(survey) = self.gateway.in_force()? else { return files(&self.paths) };
        tell(&survey);
        Ok(survey)
    }
}

/// Reads files; what of them plays no part goes to stderr.
pub(super) fn files(paths: &[PathBuf]) -> Result<Survey, Failure> {
    let survey = Survey::read(paths).map_err(|failed| refused(&failed))?;
    tell(&survey);
    Ok(survey)
}

impl GatewayName {
    /// What is in force there; `None` if no gateway is named.
    pub(super) fn in_force(&self) -> Result<Option<Survey>, Failure> {
        let Some(name) = &self.name else { return Ok(None) };
        let client = Client::new(&Paths::new(&self.run_dir, name).socket());
        let told = block_on(client.in_force())??;
        let survey = Survey::of_gateway(told).map_err(|errors: Vec<SourceError>| {
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(
                "what the gateway told cannot be read; is it of another version?\n{}",
                told.join("\n")
            )
        })?;
        Ok(Some(survey))
    }
}

/// An answer, and of which gateway it is.
#[derive(Serialize)]
struct Answer<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a AskedGateway>,
    #[serde(flatten)]
    answer: &'a T,
}

/// An answer about `survey` as JSON.
pub(super) fn json(out: &mut impl Write, survey: &Survey, answer: &impl Serialize) -> Result<(), Failure> {
    let answer = Answer { gateway: survey.gateway.as_ref(), answer };
    writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    Ok(())
}

/// Which gateway and which snapshot an answer is about; nothing if it is about files.
pub(super) fn headline(survey: &Survey) -> String {
    let Some(AskedGateway { name, epoch, age_seconds, held_back }) = &survey.gateway else {
        return String::new();
    };
    let mut text = format!("gateway {name}, snapshot {epoch}, in force for {age_seconds:.0} s\n");
    if !held_back.is_empty() {
        text.push_str("what there is has changed since, and cannot be put in force:\n");
        for why in held_back {
            text.push_str(&format!("  {why}\n"));
        }
    }
    text.push('\n');
    text
}

/// Tells on stderr what of the input plays no part, and what was made up.
pub(super) fn tell(survey: &Survey) {
    for remark in survey.remarks() {
        eprintln!("note: {remark}");
    }
}

/// Tells what is wrong with a text, mistake by mistake.
pub(super) fn mistakes(failed: &Untraced) {
    let look = look(&std::io::stderr());
    for error in &failed.errors {
        eprintln!("{}", mistake(error, &failed.texts, look));
    }
}

/// Tells what is wrong with the input.
pub(super) fn refused(failed: &Untraced) -> Failure {
    mistakes(failed);
    let files: BTreeSet<&Path> = failed.errors.iter().map(|error| error.place.file.as_path()).collect();
    eprintln!(
        "podgate: {} in {}: nothing was used, and a gateway would not use it either",
        counted(failed.errors.len(), "mistake"),
        counted(files.len(), "file")
    );
    Failure::Code(2)
}

/// `1 file`, `2 files`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Width of lines where there is no terminal.
const WIDTH: usize = 100;

/// How what is printed there may look: coloured on a terminal (no-color.org), and as wide as that;
/// `COLUMNS` has the last word.
pub(super) fn look(out: &(impl IsTerminal + std::os::fd::AsFd)) -> Look {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colours = out.is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || terminal_size::terminal_size_of(out).map(|(width, _)| width.0.into());
    let width: usize = columns.or_else(terminal).unwrap_or(WIDTH);
    Look { colours, width: width.clamp(40, 1000) }
}
