//! The podgate program.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use podgate_control::lab::responder;

#[derive(Parser)]
#[command(name = "podgate", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer on ports with a pod's name; labs start it in their pods.
    #[command(hide = true)]
    Responder(responder::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Responder(arguments) => responder::run(&arguments),
    }
}
