//! Programs and maps: new ones, or those a former gateway left behind.

use std::path::Path;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, XskMap};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::layout::{CONFIG_WORDS, COUNTS, PORT_WORDS, fallback_of, port_of};
use super::pins::Pins;
use super::{CountsReader, Fallback, Lane, SteerConfig, SteerError};
use crate::tag::PortId;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// The loaded programs, and the maps through which they are told what to do.
pub struct Steering {
    programs: Ebpf,
    /// The same once more, over the same maps: the kernel takes a program once a chain, so that
    /// getting to the head of one we are in already takes another (kernel/bpf/mprog.c).
    spare: Option<Ebpf>,
    pub(super) pins: Pins,
    config: Array<MapData, [u32; CONFIG_WORDS]>,
    pub(super) ports: HashMap<MapData, u32, [u32; PORT_WORDS]>,
    pub(super) devices: Array<MapData, u32>,
    pub(super) counts: PerCpuArray<MapData, [u64; COUNTS]>,
}

/// What a worker needs of the steering: to register its sockets and to show that it lives.
pub struct SocketMaps {
    sockets: XskMap<MapData>,
    heartbeats: Array<MapData, u64>,
}

macro_rules! map {
    ($ebpf:expr, $name:literal, $kind:ident) => {
        $kind::try_from($ebpf.take_map($name).ok_or(SteerError::Missing($name))?)
            .map_err(|source| SteerError::Map { map: $name, source })?
    };
}

impl Steering {
    /// Loads the programs. Maps that are pinned in `pins` already are used as they are: the state
    /// of a former gateway is adopted.
    pub fn load(pins: &Path) -> Result<Self, SteerError> {
        std::fs::create_dir_all(pins).map_err(|source| SteerError::Pins { path: pins.into(), source })?;
        let mut programs = load_classifiers(pins)?;
        for lane in Lane::ALL {
            let program = xdp(&mut programs, lane)?;
            program.load().map_err(|source| SteerError::Verify { program: lane.program(), source })?;
        }
        Ok(Self {
            pins: Pins(pins.into()),
            config: map!(programs, "config", Array),
            ports: map!(programs, "ports", HashMap),
            devices: map!(programs, "devices", Array),
            counts: map!(programs, "counts", PerCpuArray),
            programs,
            spare: None,
        })
    }

    /// Tells the programs. In force with the next frame.
    pub fn configure(&mut self, config: &SteerConfig) -> Result<(), SteerError> {
        self.config.set(0, config.words(), 0).map_err(|source| SteerError::Map { map: "config", source })
    }

    /// What happens without a worker, as a former gateway left it; closed before the first
    /// [`Steering::configure`].
    pub fn fallback(&self) -> Result<Fallback, SteerError> {
        let words = self.config.get(&0, 0).map_err(|source| SteerError::Map { map: "config", source })?;
        Ok(fallback_of(words))
    }

    /// Devices that are guarded already, by ifindex, as a former gateway left them.
    pub fn adopted(&self) -> Result<Vec<(u32, PortId)>, SteerError> {
        let entries = self.ports.iter().collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|source| SteerError::Map { map: "ports", source })?;
        Ok(entries.into_iter().filter_map(|(ifindex, words)| Some((ifindex, port_of(words)?))).collect())
    }

    /// Maps for one worker, opened anew from their pins so that workers share nothing.
    pub fn socket_maps(&self) -> Result<SocketMaps, SteerError> {
        let sockets = aya::maps::Map::XskMap(self.open_anew("sockets")?);
        let heartbeats = aya::maps::Map::Array(self.open_anew("heartbeats")?);
        Ok(SocketMaps {
            sockets: sockets.try_into().map_err(|source| SteerError::Map { map: "sockets", source })?,
            heartbeats: heartbeats
                .try_into()
                .map_err(|source| SteerError::Map { map: "heartbeats", source })?,
        })
    }

    /// The counters, opened anew from their pin.
    pub fn counts_reader(&self) -> Result<CountsReader, SteerError> {
        let counts = aya::maps::Map::PerCpuArray(self.open_anew("counts")?);
        let counts = counts.try_into().map_err(|source| SteerError::Map { map: "counts", source })?;
        Ok(CountsReader(counts))
    }

    fn open_anew(&self, map: &'static str) -> Result<MapData, SteerError> {
        MapData::from_pin(self.pins.0.join(map)).map_err(|source| SteerError::Map { map, source })
    }

    /// Attaches `deliver` to the kernel side of a lane's trunk. Call it in that side's network
    /// namespace.
    pub fn attach_deliver(&mut self, lane: Lane, trunk0: &str) -> Result<(), SteerError> {
        let pin = self.pins.deliver(lane);
        self.attach_classifier("deliver", trunk0, TcAttachType::Ingress, &pin, Order::Replace)
    }

    /// Attaches the lane's XDP program to the gateway side of its trunk. Call it in that side's
    /// network namespace.
    pub fn attach_steer(&mut self, lane: Lane, trunk1: &str) -> Result<(), SteerError> {
        let failed = |source| SteerError::Attach { program: lane.program(), device: trunk1.into(), source };
        let pin = self.pins.steer(lane);
        let program = xdp(&mut self.programs, lane)?;
        let link = |source| SteerError::Link { program: lane.program(), device: trunk1.into(), source };
        if let Ok(pinned) = PinnedLink::from_pin(&pin) {
            let old = XdpLink::try_from(FdLink::from(pinned)).map_err(link)?;
            if let Ok(id) = program.attach_to_link(old) {
                // Kept by its pin.
                drop(program.take_link(id).map_err(failed)?);
                return Ok(());
            }
            // The device it was on is gone.
            let _ = std::fs::remove_file(&pin);
        }
        let id = program.attach(trunk1, XdpMode::Driver).map_err(failed)?;
        let fresh = FdLink::try_from(program.take_link(id).map_err(failed)?).map_err(link)?;
        fresh.pin(&pin).map_err(|source| SteerError::Pin { path: pin.clone(), source })?;
        Ok(())
    }

    /// Attaches a classifier at the head of the device's chain and pins the link.
    pub(super) fn attach_classifier(
        &mut self,
        name: &'static str,
        device: &str,
        hook: TcAttachType,
        pin: &Path,
        order: Order,
    ) -> Result<(), SteerError> {
        let failed = |source| SteerError::Attach { program: name, device: device.into(), source };
        let link_failed = |source| SteerError::Link { program: name, device: device.into(), source };
        let held = PinnedLink::from_pin(pin).ok().map(FdLink::from);
        let held = match (held, order) {
            (Some(old), Order::Replace) => {
                let program = classifier(&mut self.programs, name)?;
                let old = SchedClassifierLink::try_from(old).map_err(link_failed)?;
                if let Ok(id) = program.attach_to_link(old) {
                    // Kept by its pin.
                    drop(program.take_link(id).map_err(failed)?);
                    return Ok(());
                }
                // The device it was on is gone, and its number was given to another one.
                None
            }
            (held, _) => held,
        };
        let mut program = classifier(&mut self.programs, name)?;
        let first = || TcAttachOptions::TcxOrder(LinkOrder::first());
        let mut attached = program.attach_with_options(device, hook, first());
        if attached.as_ref().is_err_and(is_in_chain) {
            let spare = match &mut self.spare {
                Some(spare) => spare,
                none => none.insert(load_classifiers(&self.pins.0)?),
            };
            program = classifier(spare, name)?;
            attached = program.attach_with_options(device, hook, first());
        }
        let id = attached.map_err(failed)?;
        let link = FdLink::try_from(program.take_link(id).map_err(failed)?).map_err(link_failed)?;
        // Pinned aside and then renamed over the old pin: at no instant is the device without a
        // link that would outlive us. What a crash left aside is not the one that counts.
        let aside = Pins::aside(pin);
        let _ = std::fs::remove_file(&aside);
        link.pin(&aside).map_err(|source| SteerError::Pin { path: aside.clone(), source })?;
        std::fs::rename(&aside, pin).map_err(|source| SteerError::Pins { path: pin.into(), source })?;
        drop(held);
        Ok(())
    }

    /// The kernel's numbers of a classifier, and of its spare if that was ever needed.
    pub(super) fn program_ids(&mut self, name: &'static str) -> Result<Vec<u32>, SteerError> {
        let mut ids = Vec::new();
        for programs in [Some(&mut self.programs), self.spare.as_mut()].into_iter().flatten() {
            let info = classifier(programs, name)?.info();
            ids.push(info.map_err(|source| SteerError::Verify { program: name, source })?.id());
        }
        Ok(ids)
    }
}

/// A loaded object whose classifiers are in the kernel.
fn load_classifiers(pins: &Path) -> Result<Ebpf, SteerError> {
    let mut programs = EbpfLoader::new().default_map_pin_directory(pins).load(OBJECT)?;
    for name in ["from_pod", "to_pod", "deliver"] {
        let program = classifier(&mut programs, name)?;
        program.load().map_err(|source| SteerError::Verify { program: name, source })?;
    }
    Ok(programs)
}

fn is_in_chain(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.kind() == std::io::ErrorKind::AlreadyExists)
}

/// What to do where a link is pinned already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Put the new program in the old one's place, atomically.
    Replace,
    /// Attach anew at the head, then let the old link go.
    ToHead,
}

fn classifier<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, SteerError> {
    let program = programs.program_mut(name).ok_or(SteerError::Missing(name))?;
    program.try_into().map_err(|source| SteerError::Verify { program: name, source })
}

fn xdp(programs: &mut Ebpf, lane: Lane) -> Result<&mut Xdp, SteerError> {
    let name = lane.program();
    let program = programs.program_mut(name).ok_or(SteerError::Missing(name))?;
    program.try_into().map_err(|source| SteerError::Verify { program: name, source })
}

impl SocketMaps {
    /// Puts `socket` behind `queue` of `lane`. The kernel takes it out when the socket closes.
    pub fn register(
        &mut self,
        lane: Lane,
        queue: u32,
        socket: impl std::os::fd::AsRawFd,
    ) -> Result<(), SteerError> {
        self.sockets
            .set(lane.slot(queue), socket, 0)
            .map_err(|source| SteerError::Map { map: "sockets", source })
    }

    /// The worker behind `queue` lives. `now_nanos` is on CLOCK_MONOTONIC.
    pub fn beat(&mut self, queue: u32, now_nanos: u64) -> Result<(), SteerError> {
        self.heartbeats
            .set(queue, now_nanos, 0)
            .map_err(|source| SteerError::Map { map: "heartbeats", source })
    }
}
