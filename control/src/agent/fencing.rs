//! New pods are closed until they are guarded: the gateway's fence, as ports come and go.
//!
//! A port passes from when it is guarded; it is closed again before its guard is taken off. What the
//! fence holds survives the gateway, and the next one takes it over.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use podgate_dataplane::steer::Fallback;

use super::alarms::Subject;
use super::gateway::Gateway;
use super::start::StartError;
use super::{FenceMode, Paths};
use crate::api::FenceStatus;
use crate::fence::{Bridged, Fence, FenceError, Look, Passed, Plan, Port};
use crate::net::PodEnd;

/// Counts that are older are read again for who asks.
const COUNTS_GOOD_FOR: Duration = Duration::from_millis(250);

/// The fence of a running gateway, if it has one.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    raised: tokio::sync::Mutex<Option<Raised>>,
    told: Mutex<Option<FenceStatus>>,
}

#[derive(Debug)]
struct Raised {
    fence: Fence,
    /// Frames dropped by tables that were there before this one, from pods and to them.
    earlier: [u64; 2],
    /// As last read of this one.
    counts: [u64; 2],
    counted: Instant,
    put_back: u64,
    /// A change that was refused; the next look tries again.
    failed: Option<FenceError>,
}

impl Fencing {
    /// As last looked at.
    pub(super) fn status(&self) -> Option<FenceStatus> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, raised: &Raised) {
        let Raised { fence, earlier, counts, put_back, failed, .. } = raised;
        let status = FenceStatus {
            table: fence.plan().table.clone(),
            is_whole: failed.is_none(),
            open_ports: fence.open_ports().len(),
            dropped_from_pods: earlier[0] + counts[0],
            dropped_to_pods: earlier[1] + counts[1],
            put_back: *put_back,
        };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

impl Raised {
    fn count(&mut self, look: &Look) {
        if !look.is_broken {
            self.counts = [look.from_ports, look.to_ports];
        }
        self.counted = Instant::now();
    }

    /// It was broken and is made anew: its counts start again.
    fn was_put_back(&mut self) {
        self.put_back += 1;
        self.earlier[0] += self.counts[0];
        self.earlier[1] += self.counts[1];
        self.counts = [0; 2];
    }
}

/// What a gateway with these options closes; `None` where it is to close nothing. To be asked before anything is
/// touched.
pub(super) async fn plan(options: &super::RunOptions) -> Result<Option<Plan>, FenceError> {
    if options.fallback != Fallback::Closed || options.fence == FenceMode::Off {
        return Ok(None);
    }
    let mut plan = Plan {
        table: Fence::table(&options.name),
        bridged: options
            .bridge()
            .map(|bridge| Bridged { bridge: bridge.to_owned(), kernel_tells_bridges: false }),
        routed: options.routed.as_ref().map(ToString::to_string),
        except: options.except.clone(),
    };
    Fence::probe(&mut plan).await?;
    Ok(Some(plan))
}

/// Takes down what the instance has put up, if it has.
pub(super) async fn lower(paths: &Paths, name: &str) -> Result<(), FenceError> {
    if paths.fence().exists() { Fence::remove(&Fence::table(name)).await } else { Ok(()) }
}

impl Gateway {
    /// Puts the fence up, before ports are guarded, or takes one down that an earlier gateway has left. `others` are
    /// the ports of other bridges.
    ///
    /// The pods that are there when there is nothing yet are not cut off until they are guarded; what comes after a
    /// former gateway is.
    pub(super) async fn raise_fence(
        &self,
        paths: &Paths,
        plan: Option<Plan>,
        ends: &[PodEnd],
        others: Vec<Port>,
    ) -> Result<(), StartError> {
        let Some(plan) = plan else { return Ok(lower(paths, &self.options.name).await?) };
        let files = |source| StartError::Files { path: paths.fence().display().to_string(), source };
        let is_first = self.guarded().is_empty() && !Fence::is_up(&plan).await;
        let mut open = self.ports_that_pass(others);
        if is_first {
            open.extend(ends.iter().map(|end| Port { ifindex: end.host_index, name: end.host_name.clone() }));
        }
        std::fs::write(paths.fence(), &plan.table).map_err(files)?;
        let raised = Raised {
            fence: Fence::raise(plan, open).await?,
            earlier: [0; 2],
            counts: [0; 2],
            counted: Instant::now(),
            put_back: 0,
            failed: None,
        };
        self.fence.tell(&raised);
        *self.fence.raised.lock().await = Some(raised);
        Ok(())
    }

    /// Lets guarded ports pass the fence, and no others. To be called when ports have been guarded, or have gone.
    pub(super) async fn settle_fence(&self, others: Vec<Port>) {
        self.change_fence(self.ports_that_pass(others)).await;
    }

    /// Whether the ports of other bridges matter to the fence.
    pub(super) async fn fence_asks_for_others(&self) -> bool {
        let raised = self.fence.raised.lock().await;
        raised.as_ref().is_some_and(|raised| raised.fence.plan().closes_other_bridges())
    }

    /// Closes a device that is still there and about to lose its guard.
    pub(super) async fn close_at_fence(&self, ifindex: u32) {
        let open = {
            let raised = self.fence.raised.lock().await;
            let Some(raised) = raised.as_ref() else { return };
            raised.fence.open_ports().clone()
        };
        self.change_fence(open.into_iter().filter(|port| port.ifindex != ifindex).collect()).await;
    }

    /// Looks whether the fence is as it should be, and puts it back if not. To be called every second.
    pub(super) async fn look_at_fence(&self) {
        let mut raised = self.fence.raised.lock().await;
        let Some(raised) = raised.as_mut() else { return };
        let look = match &raised.failed {
            Some(_) => Some(Look { is_broken: true, ..Look::default() }),
            None => raised.fence.look().await,
        };
        let Some(look) = look else { return };
        raised.count(&look);
        if look.is_broken {
            let by_others = raised.failed.is_none();
            raised.failed = raised.fence.make().await.err();
            if raised.failed.is_none() && by_others {
                raised.was_put_back();
            }
        }
        self.tell_of_fence(raised);
    }

    /// Reads the fence's counts, if those that are known are old.
    pub(crate) async fn count_at_fence(&self) {
        let mut raised = self.fence.raised.lock().await;
        let Some(raised) = raised.as_mut() else { return };
        if raised.counted.elapsed() > COUNTS_GOOD_FOR {
            let look = raised.fence.look_closely().await;
            raised.count(&look);
            self.fence.tell(raised);
        }
    }

    async fn change_fence(&self, open: BTreeSet<Port>) {
        let mut raised = self.fence.raised.lock().await;
        let Some(raised) = raised.as_mut() else { return };
        match raised.fence.let_pass(open).await {
            Ok(Passed::AsBefore) => {}
            Ok(Passed::Changed) => raised.failed = None,
            Ok(Passed::MadeAnew) => {
                raised.failed = None;
                raised.was_put_back();
            }
            Err(error) => raised.failed = Some(error),
        }
        self.tell_of_fence(raised);
    }

    fn ports_that_pass(&self, others: Vec<Port>) -> BTreeSet<Port> {
        let state = self.state();
        let guarded = state.ports.iter().map(|port| &port.device);
        let guarded =
            guarded.map(|device| Port { ifindex: device.ifindex, name: device.name.clone() }).collect();
        let mut open: BTreeSet<_> = guarded;
        open.extend(others);
        open
    }

    fn tell_of_fence(&self, raised: &Raised) {
        let table = &raised.fence.plan().table;
        let mut alarms = Vec::new();
        if let Some(error) = &raised.failed {
            alarms.push(format!(
                "{error}; new pods may be open until they are guarded, or guarded ones closed; it is tried again \
                 every second"
            ));
        }
        if raised.put_back > 0 {
            let times = if raised.put_back == 1 { "once" } else { "several times" };
            alarms.push(format!(
                "others have changed or removed the nft table {table} {times} since the start; it was put back, but \
                 pods that came meanwhile were open until they were guarded"
            ));
        }
        self.set_alarms(Subject::Fence, alarms);
        self.fence.tell(raised);
    }
}
