//! Which gateway is meant.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::agent::{Paths, list_instances};

#[derive(Debug, Args)]
pub(super) struct InstanceArgs {
    /// The gateway's or lab's name; may be left out where there is only one.
    #[arg(long, value_name = "NAME", env = "PODGATE_NAME")]
    pub(super) name: Option<String>,
    /// Where gateways keep their files.
    #[arg(long, default_value = "/run/podgate", value_name = "DIR", env = "PODGATE_RUN_DIR")]
    pub(super) run_dir: PathBuf,
}

impl InstanceArgs {
    /// The files of the one that is meant.
    pub(super) fn paths(&self) -> anyhow::Result<Paths> {
        Ok(Paths::new(&self.run_dir, &self.chosen()?))
    }

    /// The name of the one that is meant.
    pub(super) fn chosen(&self) -> anyhow::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let names = list_instances(&self.run_dir);
        match &names[..] {
            [] => bail!(
                "there is no gateway in {}; start one with 'podgate run' or 'podgate lab up' (as root)",
                self.run_dir.display()
            ),
            [name] => Ok(name.clone()),
            several => bail!("there are several gateways ({}); choose one with --name", several.join(", ")),
        }
    }
}
