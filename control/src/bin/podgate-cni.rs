//! The CNI plugin.

fn main() -> std::process::ExitCode {
    podgate_control::cni::main()
}
