//! `podgate check`: what in manifests is probably not meant as it is written.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::status::Format;
use super::survey::{counted, look, refused, tell};
use super::{Failure, Outcome};
use crate::source::{SourceText, Untraced};
use crate::tools::check::{CheckOptions, Checked, Level, check, mistakes, render};
use crate::tools::{Judge, Survey};

/// Find what in policies is probably not meant as it is written.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate check examples/first-look\n  \
    podgate check manifests/ --fail-on warning\n  \
    podgate check manifests/ --service-cidr 10.96.0.0/12 -o json\n\n\
    Exit code: 0 nothing at or above --fail-on, 1 something, 2 bad usage or input.\n\
    Suppress a finding that is meant with a comment beside or above the place:\n  \
    # podgate: ignore PG014 because the crawler may go anywhere\n\
    Every finding, with an example and its remedy, is in docs/check.md.")]
pub(super) struct CheckArgs {
    /// Files and directories with pods, namespaces, nodes and policies.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// From which level on findings fail the command.
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// Show only findings of this level and worse ones.
    #[arg(long, value_enum, default_value_t = Level::Info)]
    level: Level,
    /// A range of pod addresses, besides those of the nodes.
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Vec<IpNet>,
    /// A range of Service addresses.
    #[arg(long, value_name = "CIDR")]
    service_cidr: Vec<IpNet>,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum FailOn {
    Info,
    Warning,
    Error,
    /// Findings never do.
    Never,
}

impl FailOn {
    fn level(self) -> Option<Level> {
        match self {
            Self::Info => Some(Level::Info),
            Self::Warning => Some(Level::Warning),
            Self::Error => Some(Level::Error),
            Self::Never => None,
        }
    }
}

pub(super) fn run(args: &CheckArgs) -> Outcome {
    let survey = match Survey::read(&args.paths) {
        Ok(survey) => survey,
        Err(failed) => return refuse(&failed, args.output),
    };
    tell(&survey);
    let judge = Judge::new(&survey.cluster)?;
    let options = CheckOptions { pod_nets: args.pod_cidr.clone(), service_nets: args.service_cidr.clone() };
    let mut checked = check(&survey, &judge, &options)?;
    let worst = checked.findings.iter().map(|finding| finding.level).max();
    checked.findings.retain(|finding| finding.level >= args.level);
    match args.output {
        Format::Json => writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&checked)?)?,
        Format::Table => print(&checked, survey.traced.texts())?,
    }
    let fails = args.fail_on.level().is_some_and(|level| worst >= Some(level));
    if fails { Err(Failure::Code(1)) } else { Ok(()) }
}

fn print(checked: &Checked, texts: &[SourceText]) -> Outcome {
    let mut out = std::io::stdout().lock();
    let look = look(&out);
    for finding in &checked.findings {
        writeln!(out, "{}", render(finding, texts, look))?;
    }
    for note in &checked.left_out {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "{}", summary(checked, texts.len()))?;
    Ok(())
}

/// `1 error, 2 warnings, 1 remark in 3 files; 1 suppressed`.
fn summary(checked: &Checked, files: usize) -> String {
    let of_level = |level, one: &str| {
        let count = checked.findings.iter().filter(|finding| finding.level == level).count();
        (count > 0).then(|| counted(count, one))
    };
    let kinds = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Info, "remark")];
    let kinds: Vec<String> = kinds.into_iter().filter_map(|(level, one)| of_level(level, one)).collect();
    let found = if kinds.is_empty() { "nothing found".to_owned() } else { kinds.join(", ") };
    let files = counted(files, "file");
    match checked.suppressed {
        0 => format!("{found} in {files}"),
        count => format!("{found} in {files}; {count} suppressed"),
    }
}

/// Tells what is wrong with the input, and that nothing else was looked at.
fn refuse(failed: &Untraced, output: Format) -> Outcome {
    if output == Format::Json {
        let checked = mistakes(failed);
        writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&checked)?)?;
        return Err(Failure::Code(2));
    }
    Err(refused(failed))
}
