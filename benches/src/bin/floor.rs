//! The floor: the gateway's trunk, rings and workers on a bridge's ports, with nothing decided.
//! A frame for another port's MAC address goes there, every other one back into the bridge. What a
//! gateway of this shape could reach at best.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Parser;
use podgate_control::agent::{Paths, Trunk};
use podgate_control::net::{Netlink, PodEnd};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::raw::{Decide, Fate, Ring, RingConfig, Turn};
use podgate_dataplane::steer::{self, Device, Fallback, Lane, SteerConfig, Steering};
use podgate_dataplane::tag::{Passage, PortId, Tag};
use podgate_dataplane::worker::{Judge, Worker, WorkerConfig};
use podgate_flowtable::Time;

/// Retag frames of a bridge's ports until told to end.
#[derive(Parser)]
struct Options {
    /// The bridge.
    #[arg(long)]
    bridge: String,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// CPUs to pin them to, in turn.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Where to keep files.
    #[arg(long)]
    run_dir: PathBuf,
}

struct Retag(HashMap<Mac, PortId>);

impl Judge for Retag {
    fn turn(&mut self, ring: &mut Ring, _now: Time) -> Turn {
        ring.turn(self)
    }
}

impl Decide for Retag {
    fn decide(&mut self, _at: usize, frame: &mut [u8]) -> Fate {
        let (Some(&to), Some(&[high, low])) = (frame.first_chunk::<6>(), frame.get(14..16)) else {
            return Fate::Release;
        };
        let Some(tag) = Tag::from_tci(u16::from_be_bytes([high, low])) else { return Fate::Release };
        if tag.passage == Passage::FromPod
            && let Some(&port) = self.0.get(&Mac(to))
        {
            frame[14..16].copy_from_slice(&Tag::to_pod(port).tci().to_be_bytes());
        }
        Fate::Send
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let paths = Paths::new(&options.run_dir, "floor");
    let netlink = Netlink::connect()?;
    let bridge = netlink.link_named(&options.bridge).await?.index;
    let ends = netlink.pod_ends(bridge).await?;
    let pins = paths.ensure_pins()?;
    let outcome = retag(&options, &paths, &netlink, &ends, &pins).await;
    steer::detach(&pins)?;
    Trunk::destroy(&paths, "floor", &netlink).await?;
    paths.remove()?;
    outcome
}

async fn retag(
    options: &Options,
    paths: &Paths,
    netlink: &Netlink,
    ends: &[PodEnd],
    pins: &std::path::Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(paths.dir())?;
    let queues = NonZeroU32::new(options.workers).ok_or_else(|| anyhow::anyhow!("--workers 0"))?;
    let trunk = Trunk::ensure(paths, "floor", netlink, queues).await?;
    let mut steering = Steering::load(pins)?;
    steering.configure(&SteerConfig {
        trunk: [trunk.trunk0[0].index, trunk.trunk0[1].index],
        queues: options.workers,
        mark: 0x666c_6f6f,
        previous_mark: 0,
        lap: 0x666c,
        fallback: Fallback::Closed,
        hash_seed: 1,
        min_gso_bytes: 88,
        heavy_pps: 20_000,
        broadcast_pps: 400,
        stale_ms: 500,
    })?;
    let mut ports = HashMap::new();
    for lane in Lane::ALL {
        steering.attach_deliver(lane, &trunk.trunk0[lane.index()].name)?;
    }
    let (attach, names) = (&mut steering, &trunk.trunk1);
    trunk
        .netns
        .run(|| Lane::ALL.iter().try_for_each(|&lane| attach.attach_steer(lane, &names[lane.index()])))??;
    for (number, end) in (1..).zip(ends) {
        let port = PortId::new(number).ok_or_else(|| anyhow::anyhow!("too many ports"))?;
        let device = Device { ifindex: end.host_index, name: end.host_name.clone(), pod_mac: end.peer_mac };
        steering.guard(port, &device)?;
        ports.insert(end.peer_mac, port);
    }
    let mut workers = Vec::new();
    for queue in 0..options.workers {
        let ports = ports.clone();
        let config = WorkerConfig {
            queue,
            cpu: (!options.cpus.is_empty()).then(|| options.cpus[queue as usize % options.cpus.len()]),
            trunk1: trunk.trunk1.clone(),
            netns: Some(std::fs::File::open(paths.trunk_netns())?),
            ring: RingConfig::default(),
        };
        workers.push(Worker::start(config, steering.socket_maps()?, move || Retag(ports))?);
    }
    writeln!(std::io::stdout(), "retagging {} ports", ends.len())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    terminate.recv().await;
    Ok(())
}
