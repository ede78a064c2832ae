//! A lab with a gateway, on which worlds are shown.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podgate_dataplane::mac::Mac;

use super::LiveError;
use super::cast::{Cast, Seat};
use super::drops::Drops;
use super::objects::manifests;
use super::scene::Scene;
use crate::agent::Paths;
use crate::api::Client;
use crate::lab::{Lab, LabOptions, ListenPort};
use crate::net::{Netlink, Netns};

/// How long a world may take to be in force.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the gateway is asked whether it is.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A lab that is up, and its gateway.
pub(super) struct Stage {
    lab: Lab,
    run_dir: PathBuf,
    manifests: PathBuf,
    client: Client,
    drops: Drops,
    seats: BTreeMap<Seat, Seated>,
    shown: u32,
}

/// Where packets are sent from and arrive.
pub(super) struct Seated {
    pub(super) netns: Netns,
    pub(super) device: &'static str,
    pub(super) mac: Mac,
}

impl Stage {
    /// Builds the lab and starts its gateway, which knows of nobody yet.
    pub(super) async fn set(
        name: &str,
        run_dir: &Path,
        cast: &Cast,
        ports: &[ListenPort],
    ) -> Result<Self, LiveError> {
        let options = LabOptions {
            externals: cast.externals(ports),
            node_addresses: cast.node_addresses().to_vec(),
            ..LabOptions::default()
        };
        let lab = Lab::up(name, &cast.pod_specs(ports), &options).await?;
        match Self::guard(&lab, run_dir, cast).await {
            Ok(stage) => Ok(stage),
            Err(error) => {
                // Half a stage is none.
                Lab::take_down(name, run_dir).await?;
                Err(error)
            }
        }
    }

    async fn guard(lab: &Lab, run_dir: &Path, cast: &Cast) -> Result<Self, LiveError> {
        let manifests = lab.directory().join("case");
        fs::create_dir(&manifests).map_err(|source| LiveError::Write { path: manifests.clone(), source })?;
        let mut arguments: Vec<OsString> = vec!["--manifests".into(), manifests.clone().into()];
        arguments.extend(["--node".into(), OsString::from(&cast.node)]);
        // Cases have policies as an API server holds them.
        arguments.extend(["--accept".into(), "stored".into()]);
        for other in lab.externals() {
            arguments.extend(["--except".into(), OsString::from(&other.host_device)]);
        }
        lab.start_gateway(run_dir, &arguments)?;
        let client = Client::new(&Paths::new(run_dir, lab.name()).socket());
        let drops = Drops::follow(&client).await?;
        let seats = seats(lab).await?;
        let (lab, run_dir) = (lab.clone(), run_dir.to_owned());
        Ok(Self { lab, run_dir, manifests, client, drops, seats, shown: 0 })
    }

    /// Puts a world and its policies in force; returns when they are.
    pub(super) async fn show(&mut self, scene: &Scene<'_>) -> Result<(), LiveError> {
        self.shown += 1;
        self.drops.forget();
        let world = &scene.world;
        let before = self.client.status().await?.epoch;
        // In one step, so that the gateway never reads half of it.
        let (aside, path) = (self.lab.directory().join("case.new"), self.manifests.join("case.yaml"));
        let written =
            fs::write(&aside, manifests(world, self.shown)).and_then(|()| fs::rename(&aside, &path));
        written.map_err(|source| LiveError::Write { path, source })?;
        let pods = world.cluster().pods().values();
        let here = pods.filter(|pod| pod.is_live() && !pod.host_network && !pod.addresses.is_empty()).count();
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.client.status().await?;
            let bound = status.ports.iter().filter(|port| port.pod.is_some()).count();
            if status.epoch > before && status.policies == world.policies().len() + 1 && bound == here {
                return Ok(());
            }
            if Instant::now() > until {
                let bound = format!("{bound} of {here} pods have a port");
                let said: Vec<String> = [bound].into_iter().chain(status.alarms).collect();
                return Err(LiveError::NotInForce {
                    case: scene.file.case.name.clone(),
                    step: scene.step,
                    secs: PATIENCE.as_secs(),
                    said: said.join("; "),
                });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Who sits there.
    pub(super) fn seated(&self, seat: &Seat) -> Option<&Seated> {
        self.seats.get(seat)
    }

    /// What the gateway tells of drops.
    pub(super) fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Takes all of it down.
    pub(super) async fn down(self) -> Result<(), LiveError> {
        let name = self.lab.name().to_owned();
        drop(self.drops);
        Ok(Lab::take_down(&name, &self.run_dir).await?)
    }
}

async fn seats(lab: &Lab) -> Result<BTreeMap<Seat, Seated>, LiveError> {
    let mut seats = BTreeMap::new();
    for host in lab.pods().chain(lab.externals()) {
        let netns = Netns::open_at(&host.netns)?;
        let mac = host.mac.unwrap_or(Mac([0; 6]));
        seats.insert(Seat::Host(host.reference.clone()), Seated { netns, device: "eth0", mac });
    }
    let netns = lab.node()?;
    let bridge = Netlink::connect_in(&netns)?.link_named(lab.bridge()).await?;
    let mac = bridge.mac.unwrap_or(Mac([0; 6]));
    seats.insert(Seat::Node, Seated { netns, device: lab.bridge(), mac });
    Ok(seats)
}
