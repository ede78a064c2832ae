//! The podgate program.

fn main() -> std::process::ExitCode {
    podgate_control::cli::main()
}
