//! `podgate verify`: whether policies allow and deny what cases say.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::status::Format;
use super::survey::counted;
use super::{Failure, Outcome, block_on};
use crate::verify::{self, CaseError, Files, LiveError, LiveOptions, Mode, NotShown, Report};

/// Check that policies allow and deny what cases say: truth tables, probes, packet sequences.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate verify cases/\n  \
    podgate verify cases/shop.yaml more-cases/ -o json\n  \
    podgate verify --live cases/shop.yaml\n\n\
    Each case brings its own cluster and policies. They are compiled as a gateway compiles them, and\n\
    every connection is decided by the step that workers run, once for each node on its way. With\n\
    --live the case is built as a lab, and real packets decide (as root).\n\
    Exit code: 0 all hold, 1 some do not, 2 bad usage, or a case that cannot be read or run.\n\
    What a case looks like is in docs/verify.md.")]
pub(super) struct VerifyArgs {
    /// Files with a case each, and directories of them.
    #[arg(required = true, value_name = "CASE")]
    paths: Vec<PathBuf>,
    /// Build each case as a lab, and decide with real packets.
    #[arg(long)]
    live: bool,
    /// What the labs of --live are called; by default, a name with this process's number.
    #[arg(long, value_name = "NAME", requires = "live")]
    name: Option<String>,
    /// Where their gateways keep their files.
    #[arg(long, default_value = "/run/podgate", value_name = "DIR", env = "PODGATE_RUN_DIR")]
    run_dir: PathBuf,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &VerifyArgs) -> Outcome {
    let files = verify::read(&args.paths).map_err(|errors| refused(&errors))?;
    let report = decide(args, &files)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Format::Table => out.write_all(table(&report).as_bytes())?,
    }
    if report.holds() { Ok(()) } else { Err(Failure::Code(1)) }
}

fn decide(args: &VerifyArgs, cases: &Files) -> Result<Report, Failure> {
    if !args.live {
        return verify::verify(cases).map_err(|errors| refused(&errors));
    }
    let name = args.name.clone().unwrap_or_else(|| format!("verify-{}", std::process::id()));
    let options = LiveOptions { name, run_dir: args.run_dir.clone() };
    match block_on(verify::verify_live(cases, &options))? {
        Err(LiveError::Cases(errors)) => Err(refused(&errors)),
        other => Ok(other?),
    }
}

/// Tells what is wrong with the cases, and that none was run.
fn refused(errors: &[CaseError]) -> Failure {
    for error in errors {
        eprintln!("podgate: {error}");
    }
    eprintln!("podgate: {}: nothing was verified", counted(errors.len(), "mistake"));
    Failure::Code(2)
}

fn table(report: &Report) -> String {
    let mut text: String = report.failures.iter().map(failure).collect();
    for NotShown { count, because } in &report.not_shown {
        text.push_str(&format!("not shown: {count}, because {because}\n"));
    }
    text.push_str(&summary(report));
    text
}

fn failure(failure: &verify::Failure) -> String {
    let mut text = format!("FAIL {}", failure.case);
    if let Some(step) = failure.step {
        text.push_str(&format!(" step {step}"));
    }
    if let Some(item) = failure.item {
        text.push_str(&format!(" packet {item}"));
    }
    match failure.mode {
        Some(Mode::Lenient) => text.push_str(" with live connections kept"),
        Some(Mode::Strict) => text.push_str(" with live connections judged again"),
        None => {}
    }
    if let (Some(from), Some(to)) = (&failure.from, &failure.to) {
        text.push_str(&format!(": {from} -> {to}"));
    }
    if let Some(backend) = &failure.backend {
        text.push_str(&format!(" at {backend}"));
    }
    match (&failure.protocol, failure.port) {
        (Some(protocol), Some(port)) => text.push_str(&format!(" {port}/{protocol}")),
        (Some(protocol), None) => text.push_str(&format!(" {protocol}")),
        _ => {}
    }
    format!(
        "{text}: expected {}, got {}\n     {}\n     in {}\n",
        failure.expected,
        failure.got,
        failure.why,
        failure.file.display()
    )
}

/// `48 cases, 6107 checks (6075 cells, 32 probes): all hold`.
fn summary(report: &Report) -> String {
    let kinds = [
        (report.cells, "cell"),
        (report.probes, "probe"),
        (report.services, "Service"),
        (report.packets, "packet"),
        (report.manifests, "manifest"),
    ];
    let kinds: Vec<String> =
        kinds.into_iter().filter(|(count, _)| *count > 0).map(|(count, one)| counted(count, one)).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let verdict = match report.failures.len() {
        0 if report.checks == 0 => "nothing was checked".to_owned(),
        0 => "all hold".to_owned(),
        failed => format!("{failed} failed"),
    };
    let (cases, checks) = (counted(report.cases, "case"), counted(report.checks, "check"));
    format!("{cases}, {checks}{kinds}: {verdict}\n")
}
