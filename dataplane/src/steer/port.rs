//! Guarding and releasing one device.

use aya::programs::{SchedClassifier, TcAttachType};

use super::layout::port_words;
use super::load::Order;
use super::{SteerError, Steering};
use crate::mac::Mac;
use crate::tag::PortId;

/// The host side of a pod's veth.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Device {
    /// Its number in the gateway's network namespace.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The MAC address of the pod's own end.
    pub pod_mac: Mac,
}

/// Another program stands ahead of ours on a guarded device: it could let frames pass unseen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Displaced {
    /// The device.
    pub device: String,
    /// `from_pod` or `to_pod`.
    pub program: &'static str,
    /// Names of the programs ahead, as their authors gave them; empty when ours is not there at all.
    pub ahead: Vec<String>,
}

const HOOKS: [(&str, TcAttachType); 2] =
    [("from_pod", TcAttachType::Ingress), ("to_pod", TcAttachType::Egress)];

impl Steering {
    /// Guards `device` as `port`. On error it is as it was: nothing is left of a guard that was
    /// begun, and one that was held is held still.
    pub fn guard(&mut self, port: PortId, device: &Device) -> Result<(), SteerError> {
        let was_held = self.pins.port_ingress(device.ifindex).exists();
        let attached = self.try_guard(port, device);
        if attached.is_err() && !was_held {
            let _ = self.release(port, device.ifindex);
        }
        attached
    }

    fn try_guard(&mut self, port: PortId, device: &Device) -> Result<(), SteerError> {
        self.ports
            .insert(device.ifindex, port_words(port, device.pod_mac), 0)
            .map_err(|source| SteerError::Map { map: "ports", source })?;
        self.devices
            .set(u32::from(port.number()), device.ifindex, 0)
            .map_err(|source| SteerError::Map { map: "devices", source })?;
        let (from, to) = (self.pins.port_ingress(device.ifindex), self.pins.port_egress(device.ifindex));
        // Each attachment waits some milliseconds for the kernel (`tcx_entry_sync`). What the pod
        // sends comes first: it is the pod that may be up to something.
        self.attach_classifier("from_pod", &device.name, TcAttachType::Ingress, &from, Order::Replace)?;
        self.attach_classifier("to_pod", &device.name, TcAttachType::Egress, &to, Order::Replace)
    }

    /// Takes the guard off a device, or off what a device that is gone has left. The wire of a
    /// device that is still there is open afterwards. A number that is another device's by now stays that one's.
    pub fn release(&mut self, port: PortId, ifindex: u32) -> Result<(), SteerError> {
        for pin in [self.pins.port_ingress(ifindex), self.pins.port_egress(ifindex)] {
            match std::fs::remove_file(&pin) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(SteerError::Pins { path: pin, source }),
            }
        }
        let _ = self.ports.remove(&ifindex);
        let (number, failed) =
            (u32::from(port.number()), |source| SteerError::Map { map: "devices", source });
        if self.devices.get(&number, 0).map_err(failed)? != ifindex {
            return Ok(());
        }
        self.devices.set(number, 0, 0).map_err(failed)
    }

    /// Guarded devices on which another program stands ahead of ours, or ours is missing.
    pub fn displaced<'a>(
        &mut self,
        devices: impl IntoIterator<Item = &'a Device>,
    ) -> Result<Vec<Displaced>, SteerError> {
        let ours = [self.program_ids("from_pod")?, self.program_ids("to_pod")?];
        let mut found = Vec::new();
        for device in devices {
            for ((program, hook), ours) in HOOKS.into_iter().zip(&ours) {
                // A device that has just gone has no chain; its removal is on its way to us.
                let Ok((_, chain)) = SchedClassifier::query_tcx(&device.name, hook) else { continue };
                if chain.first().is_some_and(|first| ours.contains(&first.id())) {
                    continue;
                }
                let ahead = chain
                    .iter()
                    .take_while(|info| !ours.contains(&info.id()))
                    .map(|info| format!("{} (id {})", info.name_as_str().unwrap_or("?"), info.id()));
                found.push(Displaced { device: device.name.clone(), program, ahead: ahead.collect() });
            }
        }
        Ok(found)
    }

    /// Puts our programs at the head of a device's chains again.
    pub fn to_head(&mut self, device: &Device) -> Result<(), SteerError> {
        let pins = [self.pins.port_ingress(device.ifindex), self.pins.port_egress(device.ifindex)];
        for ((program, hook), pin) in HOOKS.into_iter().zip(pins) {
            self.attach_classifier(program, &device.name, hook, &pin, Order::ToHead)?;
        }
        Ok(())
    }
}
