//! What can go wrong with the steering, and what to do about it.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

/// Why the steering could not be loaded, attached or read.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The kernel refused the programs or maps.
    #[error(
        "the kernel refused the steering programs: {}; it must be 6.6 or newer with CONFIG_BPF_SYSCALL and \
         CONFIG_XDP_SOCKETS, and the gateway needs CAP_BPF and CAP_NET_ADMIN", chain(.0)
    )]
    Load(#[from] EbpfError),
    /// The object has no such program or map: it was built from other sources.
    #[error("the steering object has no {0}; build podgate anew")]
    Missing(&'static str),
    /// A program could not be verified or attached.
    #[error("cannot attach {program} to {device}: {}", chain(.source))]
    Attach {
        /// The program.
        program: &'static str,
        /// The device.
        device: String,
        /// What the kernel said.
        source: ProgramError,
    },
    /// A program could not be loaded.
    #[error("the kernel refused the program {program}: {}", chain(.source))]
    Verify {
        /// The program.
        program: &'static str,
        /// What the verifier said.
        source: ProgramError,
    },
    /// A link could not be used.
    #[error("cannot use the link of {program} on {device}: {}", chain(.source))]
    Link {
        /// The program.
        program: &'static str,
        /// The device.
        device: String,
        /// What the kernel said.
        source: LinkError,
    },
    /// A link could not be pinned.
    #[error("cannot pin {}: {}; is {} on a bpf file system?", .path.display(), chain(.source), .path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: PinError,
    },
    /// A map could not be read or written.
    #[error("cannot access the steering's map {map}: {}", chain(.source))]
    Map {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// The pin directory could not be read or changed.
    #[error("cannot access the pins in {}: {source}", .path.display())]
    Pins {
        /// The directory or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// More devices than a gateway can guard.
    #[error("no port number left for {device}: a gateway guards at most {} devices", crate::tag::MAX_PORTS - 1)]
    NoPortLeft {
        /// The device.
        device: String,
    },
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}
