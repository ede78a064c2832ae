//! What the runtime has told of containers and their interfaces, through podgate-cni.
//!
//! The kernel tells which addresses are behind a port, and manifests tell which pod has them, seconds
//! after it has started. The runtime knows before it starts. What it has told outlives the gateway, in a
//! file of the instance: nobody tells it again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Paths;
use super::carry::Origin;
use crate::api::{Attachment, AttachmentName, ValidAttachments};
use crate::model::{Cluster, ObjectKey, Pod, PodRef};

/// All attachments that were told and not taken back.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    known: BTreeMap<AttachmentName, Attachment>,
    /// Where they are kept; nowhere in tests.
    file: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    origin: Origin,
}

#[derive(Serialize, Deserialize)]
struct File {
    /// Devices are known by number, which means something in one boot and one namespace only.
    origin: u64,
    attachments: Vec<Attachment>,
}

impl Attachments {
    /// Those that a gateway before was told. What cannot be read is as if it had not been told.
    pub(super) fn open(paths: &Paths) -> Self {
        let path = paths.attachments();
        let origin = match Origin::here(&paths.home()) {
            Ok(origin) => origin,
            Err(error) => {
                tracing::warn!(%error, "what runtimes tell of pods will not be kept over a restart");
                return Self::default();
            }
        };
        let read = match fs::read(&path) {
            Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read.and_then(|bytes| {
                let file: File = serde_json::from_slice(&bytes)?;
                Ok(if file.origin == origin.number() { file.attachments } else { Vec::new() })
            }),
        };
        let read = read.unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; pods are told apart by their addresses alone", path.display());
            Vec::new()
        });
        let known = read.into_iter().map(|attachment| (attachment.name.clone(), attachment)).collect();
        Self { known, file: Some(Kept { path, origin }) }
    }

    /// Another one, or the same anew.
    pub(super) fn put(&mut self, attachment: Attachment) {
        // A device leads to one interface: what was told of it before is over.
        self.known.retain(|_, known| known.device_index != attachment.device_index);
        self.known.insert(attachment.name.clone(), attachment);
        self.save();
    }

    /// That one is going. Returns how many went.
    pub(super) fn forget(&mut self, name: &AttachmentName) -> usize {
        self.retain(|attachment| attachment.name != *name)
    }

    /// Of this network, there are only these. Returns how many went.
    pub(super) fn forget_all_but(&mut self, there: &ValidAttachments) -> usize {
        self.retain(|Attachment { name, .. }| {
            let is_it = |(container, interface): &(String, String)| {
                *container == name.container_id && *interface == name.interface
            };
            name.network != there.network || there.valid.iter().any(is_it)
        })
    }

    /// Only those whose device is there. Returns how many went.
    pub(super) fn forget_gone(&mut self, is_there: impl Fn(u32) -> bool) -> usize {
        self.retain(|attachment| is_there(attachment.device_index))
    }

    /// The one whose device has that index.
    pub(super) fn at(&self, device: u32) -> Option<&Attachment> {
        self.known.values().find(|attachment| attachment.device_index == device)
    }

    /// The pod behind the device of that number and name, as told.
    pub(super) fn pod_at(&self, device: u32, name: &str) -> Option<PodRef> {
        self.at(device).filter(|told| told.device == name).and_then(pod_of)
    }

    /// `cluster`, in which pods whose object says no address yet have those that the runtime gave them: it
    /// says them seconds before the API does. On another node than `node` nobody here can give any.
    pub(super) fn lend_addresses(&self, cluster: &Arc<Cluster>, node: Option<&str>) -> Arc<Cluster> {
        let mut lent: BTreeMap<ObjectKey, Vec<&Attachment>> = BTreeMap::new();
        for attachment in self.known.values() {
            let Some(told) = pod_of(attachment) else { continue };
            // Not to one that has the name of another before it, whose device is still there.
            if cluster.pods().get(&told.key).is_some_and(|pod| told.is(pod)) {
                lent.entry(told.key).or_default().push(attachment);
            }
        }
        let is_here = |pod: &Pod| pod.node.is_none() || node.is_none() || pod.node.as_deref() == node;
        let mut with = None;
        for (key, attachments) in lent {
            // With several, only the API says which addresses are the pod's.
            let [attachment] = attachments[..] else { continue };
            let pod = &cluster.pods()[&key];
            if pod.addresses.is_empty() && pod.is_endpoint() && is_here(pod) {
                let pod = Pod { addresses: attachment.addresses.clone(), ..Pod::clone(pod) };
                with.get_or_insert_with(|| Cluster::clone(cluster)).put_pod(pod);
            }
        }
        with.map_or_else(|| Arc::clone(cluster), Arc::new)
    }

    fn retain(&mut self, keep: impl Fn(&Attachment) -> bool) -> usize {
        let before = self.known.len();
        self.known.retain(|_, attachment| keep(attachment));
        let went = before - self.known.len();
        if went > 0 {
            self.save();
        }
        went
    }

    fn save(&self) {
        let Some(Kept { path, origin }) = &self.file else { return };
        let file = File { origin: origin.number(), attachments: self.known.values().cloned().collect() };
        let aside = path.with_extension("new");
        let written = serde_json::to_vec(&file).map_err(io::Error::from).and_then(|bytes| {
            let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
            options?.write_all(&bytes)?;
            fs::rename(&aside, path)
        });
        if let Err(error) = written {
            tracing::warn!("{}: {error}; after a restart, some pods wait for their address", path.display());
        }
    }
}

/// The pod that it is of, as told.
pub(super) fn pod_of(attachment: &Attachment) -> Option<PodRef> {
    let key = attachment.pod.as_ref()?.parse().ok()?;
    Some(PodRef { key, uid: attachment.uid.clone() })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::Phase;

    fn attachment(network: &str, container: &str, pod: Option<&str>, device: u32) -> Attachment {
        Attachment {
            name: AttachmentName {
                network: network.into(),
                container_id: container.into(),
                interface: "eth0".into(),
            },
            netns: "/run/netns/x".into(),
            pod: pod.map(str::to_owned),
            uid: None,
            addresses: vec![[10, 0, 0, device as u8].into()],
            device: format!("veth{device}"),
            device_index: device,
            peer_index: 2,
            netns_number: 0,
        }
    }

    fn pod(key: &str) -> Pod {
        Pod { node: Some("here".into()), ..Pod::new(key.parse().unwrap()) }
    }

    fn all(attachments: &Attachments) -> Vec<&str> {
        attachments.known.values().map(|attachment| attachment.name.container_id.as_str()).collect()
    }

    #[test]
    fn each_is_forgotten_in_its_way() {
        let mut attachments = Attachments::default();
        for (network, container, device) in [("n", "a", 1), ("n", "b", 2), ("n", "c", 3), ("m", "d", 4)] {
            attachments.put(attachment(network, container, None, device));
        }
        let b = attachments.at(2).unwrap().name.clone();
        assert_eq!((attachments.forget(&b), attachments.forget(&b)), (1, 0));
        let valid = vec![("a".to_owned(), "eth0".to_owned()), ("c".to_owned(), "net1".to_owned())];
        assert_eq!(attachments.forget_all_but(&ValidAttachments { network: "n".into(), valid }), 1);
        assert_eq!(all(&attachments), ["d", "a"]);
        assert_eq!(attachments.forget_gone(|device| device == 1), 1);
        assert_eq!(all(&attachments), ["a"]);
        assert_eq!(attachments.pod_at(1, "veth1"), None);
        attachments.put(attachment("n", "e", Some("x/e"), 1));
        let e = PodRef { key: "x/e".parse().unwrap(), uid: None };
        assert_eq!((all(&attachments), attachments.pod_at(1, "veth1")), (vec!["e"], Some(e)));
    }

    #[test]
    fn addresses_are_lent_until_the_api_says_them() {
        let mut cluster = Cluster::new();
        cluster.put_pod(pod("x/a"));
        cluster.put_pod(Pod { addresses: vec![[10, 9, 9, 9].into()], ..pod("x/known") });
        cluster.put_pod(Pod { node: Some("there".into()), ..pod("x/there") });
        cluster.put_pod(Pod { phase: Phase::Failed, ..pod("x/ended") });
        cluster.put_pod(pod("x/twice"));
        let cluster = Arc::new(cluster);
        let mut attachments = Attachments::default();
        assert!(Arc::ptr_eq(&attachments.lend_addresses(&cluster, Some("here")), &cluster));
        let told = ["x/a", "x/known", "x/there", "x/ended", "x/twice", "x/twice", "x/strange", "nonsense"];
        for (pod, device) in told.into_iter().zip(1..) {
            attachments.put(attachment("n", &format!("c{device}"), Some(pod), device));
        }
        let lent = attachments.lend_addresses(&cluster, Some("here"));
        for (key, pod) in lent.pods() {
            let expected = if key.name == "a" {
                vec![[10, 0, 0, 1].into()]
            } else {
                cluster.pods()[key].addresses.clone()
            };
            assert_eq!(pod.addresses, expected, "{key}");
            assert_eq!(Arc::ptr_eq(pod, &cluster.pods()[key]), key.name != "a", "{key}");
        }
        assert_eq!(lent.pods().len(), cluster.pods().len());
        let nowhere = attachments.lend_addresses(&cluster, None);
        assert_eq!(nowhere.pods()[&"x/there".parse().unwrap()].addresses.len(), 1);
    }

    #[test]
    fn an_address_is_lent_to_the_pod_that_was_told_and_to_none_of_the_same_name() {
        let uid = |uid: &str| Some(uid.to_owned());
        let mut attachments = Attachments::default();
        // Of a pod that was deleted by force: its device is there for some time yet.
        attachments.put(Attachment { uid: uid("first"), ..attachment("n", "c1", Some("x/a"), 1) });
        let lent = |attachments: &Attachments, uid: Option<String>| {
            let mut cluster = Cluster::new();
            cluster.put_pod(Pod { uid, ..pod("x/a") });
            let lent = attachments.lend_addresses(&Arc::new(cluster), Some("here"));
            lent.pods()[&"x/a".parse().unwrap()].addresses.clone()
        };
        assert_eq!(lent(&attachments, uid("first")), [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(lent(&attachments, uid("second")), [] as [IpAddr; 0]);
        assert_eq!(lent(&attachments, None).len(), 1, "nobody says which it is");
        // The next one's does not make two of it.
        attachments.put(Attachment { uid: uid("second"), ..attachment("n", "c2", Some("x/a"), 2) });
        assert_eq!(lent(&attachments, uid("second")), [IpAddr::from([10, 0, 0, 2])]);
    }

    #[test]
    fn what_was_told_is_there_after_a_restart_in_the_same_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), "t");
        paths.ensure_dir().unwrap();
        fs::write(paths.home(), "1 cni0\n").unwrap();
        let mut before = Attachments::open(&paths);
        before.put(attachment("n", "a", Some("x/a"), 1));
        before.put(attachment("n", "b", None, 2));
        before.forget_gone(|device| device == 1);
        let after = Attachments::open(&paths);
        assert_eq!(after.known, before.known);
        assert_eq!(after.pod_at(1, "veth1").map(|pod| pod.to_string()).as_deref(), Some("x/a"));
        assert_eq!(after.pod_at(1, "veth7"), None, "another device by that number");
        fs::write(paths.home(), "2 cni0\n").unwrap();
        assert!(Attachments::open(&paths).known.is_empty());
        fs::write(paths.attachments(), "{").unwrap();
        assert!(Attachments::open(&paths).known.is_empty());
    }
}
