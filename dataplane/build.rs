//! Compiles the steering programs with clang and leaves the object in `OUT_DIR`.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "bpf/steer.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let object = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("steer.bpf.o");
    // v3: with older instruction sets a store to `queue_mapping` may be skipped silently, because
    // the upper half of the register is not cleared.
    let mut command = Command::new(&clang);
    command
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-c", SOURCE, "-o"])
        .arg(&object);
    // The kernel's asm headers stand in a directory named for the machine.
    let multiarch = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    if Path::new(&multiarch).is_dir() {
        command.arg("-I").arg(multiarch);
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{clang} could not compile {SOURCE}: {status}"),
        Err(error) => panic!(
            "cannot run {clang}: {error}; install clang and libbpf-dev (scripts/install-deps does), or set CLANG"
        ),
    }
}
