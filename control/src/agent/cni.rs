//! Runtimes at the door: podgate-cni asks that a port be guarded, and whether it is.
//!
//! The loop answers, because it alone looks at ports; it does so at once, whatever the kernel has yet to
//! tell. Many that come together cost one compilation.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podgate_dataplane::worker;
use tokio::sync::{mpsc, oneshot};

use super::attachments::pod_of;
use super::follow::{Follow, Unguarded};
use super::gateway::Gateway;
use super::ports::Port;
use super::supervise::put_in_force;
use crate::api::{Attachment, AttachmentName, CniAnswer, CniRefusal, ValidAttachments};
use crate::net::{Peer, PodEnd};

/// Questions that may wait; who comes then waits to ask.
const WAITING: usize = 256;
/// Questions answered before anything else is seen to.
const AT_ONCE: usize = 64;

/// What is asked of the loop.
#[derive(Debug)]
pub enum Question {
    /// An interface was made: guard it.
    Add(Attachment),
    /// Is it guarded, and as it was told?
    Check(Attachment),
}

/// Where questions are asked.
#[derive(Clone, Debug)]
pub struct Door(mpsc::Sender<Asked>);

/// Who is at the door.
#[derive(Debug)]
pub(super) struct Visitors(mpsc::Receiver<Asked>);

#[derive(Debug)]
pub(super) struct Asked {
    question: Question,
    answer: oneshot::Sender<CniAnswer>,
}

/// A door, and who comes to it.
pub(super) fn door() -> (Door, Visitors) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Door(sender), Visitors(receiver))
}

impl Door {
    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: Question) -> CniAnswer {
        let (answer, answered) = oneshot::channel();
        let asked = self.0.send(Asked { question, answer }).await;
        let ends = || refused(CniRefusal::NotGuarded, "the gateway is ending".into());
        if asked.is_err() {
            return ends();
        }
        answered.await.unwrap_or_else(|_| ends())
    }
}

impl Visitors {
    /// The next one; waits for it.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.0.recv().await
    }
}

/// Answers the first one and those that wait behind it.
pub(super) async fn answer(
    gateway: &Gateway,
    follow: &mut Follow<'_>,
    first: Asked,
    visitors: &mut Visitors,
) {
    let since = worker::now();
    let (mut changed, mut guarded) = (false, Vec::new());
    let mut first = Some(first);
    for _ in 0..AT_ONCE {
        let next = first.take().or_else(|| visitors.0.try_recv().ok());
        let Some(Asked { question, answer }) = next else { break };
        match question {
            Question::Add(attachment) => match follow.look_at(gateway, attachment.device_index).await {
                Ok((end, more)) => {
                    changed |= more;
                    guarded.push((attachment, end, answer));
                }
                Err(unguarded) => drop(answer.send(gateway.told_of(&attachment, unguarded))),
            },
            Question::Check(attachment) => {
                let answered = match follow.is_guarded(gateway, attachment.device_index).await {
                    Ok(end) => gateway.check(&attachment, end.as_ref()),
                    Err(unguarded) => gateway.told_of(&attachment, unguarded),
                };
                drop(answer.send(answered));
            }
        }
    }
    if !guarded.is_empty() {
        // A pod starts when the fence lets it pass, too.
        follow.settle_fence(gateway).await;
    }
    let mut answers = Vec::new();
    for (attachment, end, answer) in guarded {
        let index = attachment.device_index;
        match differs(&attachment, end.as_ref()) {
            Some(reason) => drop(answer.send(refused(CniRefusal::Differs, reason))),
            None => {
                changed |= gateway.attach(attachment);
                answers.push((index, answer));
            }
        }
    }
    if changed {
        put_in_force(gateway, since);
    }
    for (index, answer) in answers {
        // Whoever no longer listens asks again, or takes it back.
        drop(answer.send(gateway.guarded_at(index)));
    }
}

impl Gateway {
    /// Takes note of what the runtime tells. Returns whether policy has to be put in force anew.
    fn attach(&self, attachment: Attachment) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        let is_news = state.attachments.at(attachment.device_index) != Some(&attachment);
        let (index, device) = (attachment.device_index, attachment.device.clone());
        if is_news {
            tracing::info!(
                device = attachment.device,
                pod = attachment.pod.as_deref().unwrap_or("not named"),
                container = attachment.name.container_id,
                "a runtime adds a pod"
            );
            state.attachments.put(attachment);
        }
        if let Some(pod) = state.attachments.pod_at(index, &device) {
            state.ports.tell(index, pod);
        }
        is_news
    }

    /// What is guarded at that device.
    fn guarded_at(&self, index: u32) -> CniAnswer {
        let state = self.state();
        match state.ports.iter().find(|port| port.device.ifindex == index) {
            Some(port) => guarded(port),
            None => refused(CniRefusal::NotGuarded, "its device went away meanwhile".into()),
        }
    }

    /// Whether a guarded port is as it was told.
    fn check(&self, attachment: &Attachment, end: Option<&PodEnd>) -> CniAnswer {
        if let Some(reason) = differs(attachment, end) {
            return refused(CniRefusal::Differs, reason);
        }
        let mut state = self.state();
        let state = &mut *state;
        let index = attachment.device_index;
        let Some(port) = state.ports.iter().find(|port| port.device.ifindex == index) else {
            return refused(CniRefusal::NotGuarded, format!("{} is not guarded", attachment.device));
        };
        match state.steering.displaced(std::slice::from_ref(&port.device)) {
            Ok(displaced) if displaced.is_empty() => {}
            Ok(_) => {
                let reason = format!(
                    "podgate's programs are not the first ones on {}: something has put others ahead of them, or \
                     taken them off; the gateway puts them back within a second",
                    attachment.device
                );
                return refused(CniRefusal::NotGuarded, reason);
            }
            Err(error) => return refused(CniRefusal::NotGuarded, error.to_string()),
        }
        let (device, told) = (&attachment.device, pod_of(attachment));
        let bound = port.bound.as_ref().map(|bound| &bound.pod);
        let there = told.as_ref().and_then(|told| state.cluster.pods().get(&told.key));
        let reason = match (&told, bound, there) {
            (Some(told), Some(bound), _) if told.key != bound.key => {
                format!("{device} is taken for pod {bound}, not {told}")
            }
            (Some(told), None, Some(pod)) if told.uid_differs(pod) => format!(
                "{device} is closed: pod {told} in the API is another one of that name (its UID is {})",
                pod.uid.as_deref().unwrap_or_default()
            ),
            (Some(told), None, Some(pod)) if !pod.addresses.is_empty() => {
                format!("{device} is closed: its addresses are not those that pod {told} has in the API")
            }
            _ => return guarded(port),
        };
        refused(CniRefusal::Differs, reason)
    }

    /// Why an attachment is not guarded, for the runtime.
    fn told_of(&self, attachment: &Attachment, unguarded: Unguarded) -> CniAnswer {
        let device = &attachment.device;
        match unguarded {
            Unguarded::Gone => refused(CniRefusal::NotGuarded, format!("{device} is not there any more")),
            Unguarded::NoPort => {
                let bridged = self.options.bridge().map(|bridge| format!("the veth ports of {bridge}"));
                let routed = self.options.routed.as_ref();
                let routed = routed.map(|routed| format!("the veths {routed} that are ports of no bridge"));
                let guards: Vec<_> = bridged.into_iter().chain(routed).collect();
                let reason = format!(
                    "{device} is no port that the gateway {} guards: it guards {}, but for those named by --except. \
                     Run a gateway for that network too (--bridge, or --routed for veths of no bridge) and name its \
                     socket in podgate-cni's entry, or take podgate-cni out of that network's plugins",
                    self.options.name,
                    guards.join(" and ")
                );
                refused(CniRefusal::NoPort, reason)
            }
            Unguarded::Trouble(reason) => refused(CniRefusal::NotGuarded, reason),
        }
    }

    /// A container is going. Returns how many attachments were forgotten.
    pub(crate) fn forget_attachment(&self, name: &AttachmentName) -> usize {
        self.state().attachments.forget(name)
    }

    /// Others of that network are gone. Returns how many attachments were forgotten.
    pub(crate) fn forget_all_but(&self, there: &ValidAttachments) -> usize {
        self.state().attachments.forget_all_but(there)
    }

    /// Devices that are gone take along what was told of them. Returns whether policy has to be put in force
    /// anew: an address that one of several had may be lent to the other now.
    pub(super) fn forget_gone(&self, is_there: impl Fn(u32) -> bool) -> bool {
        self.state().attachments.forget_gone(is_there) > 0
    }

    /// Why no pod could be added now; `None` if one could.
    pub(crate) fn why_not_ready(&self) -> Option<String> {
        let now = worker::now();
        let state = self.state();
        if state.published.is_none() {
            return Some("no policy is in force yet".into());
        }
        let lost = state.workers.iter().position(|worker| !super::gateway::is_alive(worker, now));
        lost.map(|number| format!("worker {number} shows no life"))
    }
}

/// What of a port is not as it was told.
fn differs(attachment: &Attachment, end: Option<&PodEnd>) -> Option<String> {
    let Attachment { device, netns, .. } = attachment;
    let expected = Peer { index: attachment.peer_index, netns_id: Some(attachment.netns_number) };
    let Some(end) = end.filter(|end| end.peer == expected) else {
        return Some(format!("{device} does not lead to {} of {netns}", attachment.name.interface));
    };
    let seen: BTreeSet<&IpAddr> = end.addresses.iter().collect();
    let missing: Vec<_> =
        attachment.addresses.iter().filter(|told| !seen.contains(told)).map(ToString::to_string).collect();
    (!missing.is_empty())
        .then(|| format!("{} of {netns} does not have {}", attachment.name.interface, missing.join(", ")))
}

fn guarded(port: &Port) -> CniAnswer {
    CniAnswer::Guarded {
        device: port.device.name.clone(),
        port: port.id.number(),
        pod: port.enforced.as_ref().map(|bound| bound.pod.to_string()),
    }
}

fn refused(refusal: CniRefusal, reason: String) -> CniAnswer {
    CniAnswer::Refused { refusal, reason }
}
