//! Other people's BPF programs: on the node beside podgate's, and in pods that may do anything.

use std::path::Path;
use std::process::Command;

use aya::maps::{Array, Map, MapData};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc::TcAttachOptions};
use aya::{Ebpf, EbpfLoader};

use crate::Space;
use crate::space::finish;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/foreign.bpf.c");

/// A program at the head of a device's chain; off when dropped.
#[derive(Debug)]
#[must_use = "it comes off when dropped"]
pub struct Foreign(#[expect(dead_code, reason = "held")] Ebpf);

/// Which chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// What arrives at the device.
    Ingress,
    /// What leaves by it.
    Egress,
}

impl Hook {
    fn kind(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}

impl Foreign {
    /// Puts `accept_all` or `clear_mark` ahead of everything.
    #[track_caller]
    pub fn ahead(space: &Space, device: &str, hook: Hook, program: &str) -> Self {
        Self::attach(space, device, hook, program, 0, 0)
    }

    /// Lets what arrives at `device` leave by the peer of the device `way_out` with a forged mark.
    #[track_caller]
    pub fn forger(space: &Space, device: &str, way_out: u32, mark: u32) -> Self {
        Self::attach(space, device, Hook::Ingress, "forge_mark", way_out, mark)
    }

    #[track_caller]
    fn attach(space: &Space, device: &str, hook: Hook, program: &str, way_out: u32, mark: u32) -> Self {
        let object = compiled();
        let attached = space.run(|| -> anyhow::Result<Ebpf> {
            let mut loader = EbpfLoader::new();
            loader.override_global("forged_mark", &mark, true).override_global("way_out", &way_out, true);
            let mut ebpf = loader.load(&object)?;
            let found = ebpf.program_mut(program).ok_or_else(|| anyhow::anyhow!("no program {program}"))?;
            let classifier: &mut SchedClassifier = found.try_into()?;
            classifier.load()?;
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            classifier.attach_with_options(device, hook.kind(), options)?;
            Ok(ebpf)
        });
        Self(attached.unwrap_or_else(|error| panic!("{program} on {device}: {error:?}")))
    }
}

/// Names of the programs on a device's chain, first to last.
pub fn chain(space: &Space, device: &str, hook: Hook) -> Vec<String> {
    space.run(|| {
        let (_, programs) = SchedClassifier::query_tcx(device, hook.kind()).unwrap_or_default();
        programs.iter().map(|program| program.name_as_str().unwrap_or("?").to_owned()).collect()
    })
}

/// The words of a gateway's pinned configuration (`dataplane/bpf/steer.h`).
#[track_caller]
pub fn pinned_config(pins: &Path) -> [u32; 16] {
    let map = MapData::from_pin(pins.join("config")).expect("a pinned configuration");
    let map: Array<_, [u32; 16]> = Map::Array(map).try_into().expect("an array");
    map.get(&0, 0).expect("one entry")
}

fn compiled() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let object = dir.path().join("foreign.bpf.o");
    let mut clang = Command::new("clang");
    clang.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", SOURCE, "-o"]).arg(&object);
    // Where Debian keeps <asm/types.h>.
    clang.arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH));
    let finished = finish(&mut clang);
    assert_eq!(finished.code, 0, "clang: {}", finished.stderr);
    std::fs::read(object).expect("clang wrote it")
}
