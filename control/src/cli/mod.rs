//! The command line: one file a command.
//!
//! Exit codes: 0 fine; 1 an expectation or a finding failed, or the command run in a pod did; 2 bad
//! usage or input. Errors go to stderr and say what to do.

mod check;
mod cni;
mod config;
mod connectivity;
mod detach;
mod diff;
mod explain;
mod flow_args;
mod flow_table;
mod flows;
mod gateway_args;
mod instance;
mod kubernetes_args;
mod lab;
mod layers;
mod logs;
mod man;
mod observe;
mod policy;
mod run;
mod source_status;
mod status;
mod survey;
mod table;
mod timeouts;
mod verify;
mod wait;

use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};

use layers::Refusal;

/// A userspace packet-filtering gateway for Kubernetes network policy.
#[derive(Debug, Parser)]
#[command(name = "podgate", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Example:\n  podgate lab up examples/first-look\n  \
    podgate observe --verdict dropped --follow")]
struct Cli {
    #[command(flatten)]
    logs: logs::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Detach(detach::DetachArgs),
    Status(status::StatusArgs),
    Wait(wait::WaitArgs),
    Observe(observe::ObserveArgs),
    Flows(flows::FlowsArgs),
    Policy(policy::PolicyArgs),
    Lab(lab::LabArgs),
    Connectivity(connectivity::ConnectivityArgs),
    Check(check::CheckArgs),
    Diff(diff::DiffArgs),
    Explain(explain::ExplainArgs),
    Verify(verify::VerifyArgs),
    Config(config::ConfigArgs),
    Cni(cni::CniArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  podgate completions bash > /etc/bash_completion.d/podgate")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    Man(man::ManArgs),
    #[command(hide = true)]
    Responder(lab::ResponderArgs),
    #[command(hide = true)]
    Nameserver(lab::NameserverArgs),
}

/// How a command ended, other than well.
pub(crate) enum Failure {
    /// With this exit code; everything there is to say has been said.
    Code(u8),
    /// With an error that is yet to be told; exit code 2.
    Error(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

type Outcome = Result<(), Failure>;

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let layered = match layers::parse(std::env::args_os().collect()) {
        Ok(layered) => layered,
        Err(Refusal::CommandLine(error)) => error.exit(),
        Err(Refusal::File(failed)) => {
            survey::mistakes(&failed);
            eprintln!("podgate: the configuration file cannot be used; nothing was started");
            return ExitCode::from(2);
        }
    };
    let cli = Cli::from_arg_matches(&layered.matches).unwrap_or_else(|error| error.exit());
    cli.logs.start();
    let outcome = match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Detach(args) => detach::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Wait(args) => wait::run(&args),
        Command::Observe(args) => observe::run(&args),
        Command::Flows(args) => flows::run(args),
        Command::Policy(args) => policy::run(&args),
        Command::Lab(args) => lab::run(args),
        Command::Check(args) => check::run(&args),
        Command::Connectivity(args) => connectivity::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Config(args) => config::run(&args, &layered),
        Command::Man(args) => man::run(&args),
        Command::Cni(args) => cni::run(args),
        Command::Responder(args) => return lab::respond(&args),
        Command::Nameserver(args) => return lab::serve_names(&args),
        Command::Completions { shell } => {
            let mut command = layers::command();
            clap_complete::generate(shell, &mut command, "podgate", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Code(code)) => ExitCode::from(code),
        Err(Failure::Error(error)) => {
            // Someone stopped reading: `podgate observe | head`.
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
            {
                return ExitCode::SUCCESS;
            }
            eprintln!("podgate: {}", told(&error));
            ExitCode::from(2)
        }
    }
}

/// An error with its causes, on one line; most of them quote their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// A runtime for what waits: the control side needs no more than one thread.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write {0}: {1}")]
        struct Quoting(&'static str, #[source] std::io::Error);

        let io = || std::io::Error::other("no room");
        assert_eq!(told(&Quoting("x", io()).into()), "cannot write x: no room");
        assert_eq!(told(&anyhow::Error::from(io()).context("cannot write x")), "cannot write x: no room");
    }
}
