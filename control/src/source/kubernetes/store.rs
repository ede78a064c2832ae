//! What there is, kind by kind, and the cluster made of it.
//!
//! The watches of different kinds do not wait for each other: a pod may be told before its namespace. It
//! counts from when both are known, for without the namespace's labels nobody can tell which policies
//! are about it.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::super::{Background, Instead, Object, ObjectTrouble, Owner};
use super::judge::{Judged, isolating, judge};
use super::kind::{Kind, Part};
use super::received::Received;
use crate::model::{Cluster, ObjectKey, Pod};

/// How many deleted objects are remembered, so that none comes back by an event that is late.
const DELETED_KEPT: usize = 4096;

/// What is held of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// `metadata.uid`: another object of the same name has another one.
    pub(super) uid: Option<String>,
    /// `metadata.resourceVersion`; `None` where it is no number, or not of this run.
    pub(super) version: Option<u64>,
    /// What it is for policy.
    pub(super) objects: Vec<Object>,
    /// Its controller.
    pub(super) owner: Option<Owner>,
    /// Why it is not used as it is.
    pub(super) trouble: Option<ObjectTrouble>,
}

/// The objects of one part.
#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<ObjectKey, Entry>,
    /// What has been listed so far, while it is.
    listing: Option<BTreeMap<ObjectKey, Entry>>,
    was_listed: bool,
    deleted: VecDeque<String>,
    deleted_uids: HashSet<String>,
}

/// Everything that is held.
#[derive(Debug, Default)]
pub(super) struct Store {
    parts: [Kept; Part::ALL.len()],
    cluster: Cluster,
    background: Background,
    troubles: BTreeMap<(Part, ObjectKey), ObjectTrouble>,
}

impl Store {
    /// Whether every part has been listed in full.
    pub(super) fn is_synced(&self) -> bool {
        self.parts.iter().all(|kept| kept.was_listed)
    }

    /// The cluster. Nothing in it lacks its namespace.
    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What is known of it besides.
    pub(super) fn background(&self) -> &Background {
        &self.background
    }

    /// The objects that are not used as they are.
    pub(super) fn troubles(&self) -> impl Iterator<Item = &ObjectTrouble> {
        self.troubles.values()
    }

    /// Everything that is held.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Part, &ObjectKey, &Entry)> {
        let of =
            |part: Part| self.parts[part.index()].entries.iter().map(move |(key, entry)| (part, key, entry));
        Part::ALL.into_iter().flat_map(of)
    }

    /// Takes over what was saved.
    pub(super) fn restore(&mut self, part: Part, key: &ObjectKey, entry: Entry) {
        self.put(part, key, entry);
    }

    /// Pods of such nodes have other addresses by now, which nobody knows: none, for now.
    pub(super) fn forget_addresses(&mut self, is_such: impl Fn(&str) -> bool) {
        let pods = self.parts[Part::Pods.index()].entries.iter();
        let own = pods.filter_map(|(key, entry)| match &entry.objects[..] {
            [Object::Pod(pod)] if pod.node.as_deref().is_some_and(&is_such) => {
                let pod = Pod { addresses: Vec::new(), ..Pod::clone(pod) };
                Some((key.clone(), Entry { objects: vec![Object::Pod(pod.into())], ..entry.clone() }))
            }
            _ => None,
        });
        for (key, entry) in own.collect::<Vec<_>>() {
            self.put(Part::Pods, &key, entry);
        }
    }

    /// A list begins.
    pub(super) fn begin(&mut self, part: Part) {
        self.parts[part.index()].listing = Some(BTreeMap::new());
    }

    /// One object of the list.
    pub(super) fn list(&mut self, kind: Kind, received: &Received) {
        let kept = &mut self.parts[kind.part().index()];
        let Some(key) = received.key() else { return nameless(kind) };
        let entry = entry(kind, &key, received, kept.entries.get(&key));
        kept.listing.get_or_insert_default().insert(key, entry);
    }

    /// The list has ended: what is not in it is not there. Returns whether the cluster has changed, or what cannot be
    /// used of it.
    pub(super) fn complete(&mut self, part: Part) -> bool {
        let kept = &mut self.parts[part.index()];
        kept.was_listed = true;
        kept.deleted.clear();
        kept.deleted_uids.clear();
        let listed = kept.listing.take().unwrap_or_default();
        let gone: Vec<ObjectKey> =
            kept.entries.keys().filter(|key| !listed.contains_key(key)).cloned().collect();
        let mut changed = false;
        for key in gone {
            changed |= self.remove(part, &key);
        }
        for (key, entry) in listed {
            changed |= self.put(part, &key, entry);
        }
        changed
    }

    /// An object is there, or is another now. Returns the same.
    pub(super) fn apply(&mut self, kind: Kind, received: &Received) -> bool {
        let part = kind.part();
        let kept = &self.parts[part.index()];
        let Some(key) = received.key() else {
            nameless(kind);
            return false;
        };
        let was_deleted = received.meta.uid.as_ref().is_some_and(|uid| kept.deleted_uids.contains(uid));
        let before = kept.entries.get(&key);
        if was_deleted || before.is_some_and(|entry| entry.version > received.version()) {
            tracing::debug!(kind = kind.name(), %key, "an event that is late means nothing");
            return false;
        }
        let entry = entry(kind, &key, received, before);
        self.put(part, &key, entry)
    }

    /// An object is gone. Returns the same.
    pub(super) fn delete(&mut self, kind: Kind, received: &Received) -> bool {
        let part = kind.part();
        let kept = &mut self.parts[part.index()];
        let Some(key) = received.key() else {
            nameless(kind);
            return false;
        };
        if let Some(uid) = &received.meta.uid {
            kept.forget_for_good(uid);
            // The one that was there before the one of that name that is there now.
            if kept.entries.get(&key).is_some_and(|entry| entry.uid.as_ref().is_some_and(|held| held != uid))
            {
                return false;
            }
        }
        self.remove(part, &key)
    }

    fn put(&mut self, part: Part, key: &ObjectKey, entry: Entry) -> bool {
        match &entry.trouble {
            Some(trouble) => {
                let before = self.troubles.insert((part, key.clone()), trouble.clone());
                if before.as_ref() != Some(trouble) {
                    tracing::warn!("{trouble}");
                }
            }
            None => {
                self.troubles.remove(&(part, key.clone()));
            }
        }
        let (objects, owner, trouble) = (entry.objects.clone(), entry.owner.clone(), entry.trouble.clone());
        let before = self.parts[part.index()].entries.insert(key.clone(), entry);
        if let Some(before) = before {
            if before.objects == objects && before.owner == owner {
                return before.trouble != trouble;
            }
            let is_there = |title: &str| objects.iter().any(|object| object.title() == title);
            let left_out = before.objects.iter().filter(|object| !is_there(&object.title()));
            left_out.for_each(|object| take_out(object, &mut self.cluster));
        } else if objects.is_empty() {
            return trouble.is_some();
        }
        if part == Part::Pods {
            match owner {
                Some(owner) => self.background.owners.insert(key.clone(), owner),
                None => self.background.owners.remove(key),
            };
        }
        self.put_objects(part, key, &objects);
        true
    }

    fn put_objects(&mut self, part: Part, key: &ObjectKey, objects: &[Object]) {
        match part {
            Part::Namespaces => {
                let is_new = !self.cluster.namespaces().contains_key(&key.name);
                self.put_all(objects);
                if is_new && !objects.is_empty() {
                    self.fill(&key.name);
                }
            }
            Part::Nodes => self.put_all(objects),
            _ if self.cluster.namespaces().contains_key(&key.namespace) => self.put_all(objects),
            _ => {}
        }
    }

    fn put_all(&mut self, objects: &[Object]) {
        for object in objects {
            object.clone().put_into(&mut self.cluster);
        }
    }

    /// A namespace has become known: so does what is in it.
    fn fill(&mut self, namespace: &str) {
        for part in [Part::Pods, Part::Policies, Part::Services, Part::Endpoints] {
            let from = ObjectKey::new(namespace, "");
            let inside = self.parts[part.index()].entries.range(from..);
            for (_, entry) in inside.take_while(|(key, _)| key.namespace == namespace) {
                for object in &entry.objects {
                    object.clone().put_into(&mut self.cluster);
                }
            }
        }
    }

    fn remove(&mut self, part: Part, key: &ObjectKey) -> bool {
        self.troubles.remove(&(part, key.clone()));
        let Some(entry) = self.parts[part.index()].entries.remove(key) else { return false };
        if part == Part::Pods {
            self.background.owners.remove(key);
        }
        entry.objects.iter().for_each(|object| take_out(object, &mut self.cluster));
        !entry.objects.is_empty() || entry.trouble.is_some()
    }
}

impl Kept {
    fn forget_for_good(&mut self, uid: &str) {
        if self.deleted_uids.insert(uid.to_owned()) {
            self.deleted.push_back(uid.to_owned());
        }
        if self.deleted.len() > DELETED_KEPT
            && let Some(oldest) = self.deleted.pop_front()
        {
            self.deleted_uids.remove(&oldest);
        }
    }
}

/// What is to be held of an object that came, where `before` was held.
fn entry(kind: Kind, key: &ObjectKey, received: &Received, before: Option<&Entry>) -> Entry {
    let Judged { mut objects, owner, problems } = judge(kind, received);
    let uid = received.meta.uid.clone();
    let before = before.filter(|before| before.uid == uid);
    let mut trouble = None;
    if !problems.is_empty() {
        let last_good = before.filter(|before| match &before.trouble {
            None => true,
            Some(trouble) => trouble.instead == Instead::LastGood,
        });
        let instead = match (last_good, kind) {
            (Some(before), _) => {
                objects.clone_from(&before.objects);
                Instead::LastGood
            }
            (None, Kind::NetworkPolicy) => {
                objects = vec![Object::NetworkPolicy(isolating(key.clone(), received).into())];
                Instead::Isolated
            }
            (None, _) => {
                objects.clear();
                Instead::LeftOut
            }
        };
        trouble = Some(ObjectTrouble {
            api_version: kind.api_version().to_owned(),
            kind: kind.name().to_owned(),
            namespace: (!key.namespace.is_empty()).then(|| key.namespace.clone()),
            name: key.name.clone(),
            uid: uid.clone(),
            problems,
            instead,
        });
    }
    // What is as it was is the very same object: who compares need only compare pointers.
    for object in &mut objects {
        if let Some(same) = before.and_then(|before| before.objects.iter().find(|held| *held == object)) {
            *object = same.clone();
        }
    }
    Entry { uid, version: received.version(), objects, owner, trouble }
}

fn take_out(object: &Object, cluster: &mut Cluster) {
    match object {
        Object::Namespace(namespace) => drop(cluster.remove_namespace(namespace.name())),
        Object::Node(node) => drop(cluster.remove_node(&node.name)),
        Object::Pod(pod) => drop(cluster.remove_pod(&pod.key)),
        Object::NetworkPolicy(policy) => drop(cluster.remove_policy(&policy.key)),
        Object::Service(service) => drop(cluster.remove_service(&service.key)),
        Object::EndpointSlice(slice) => drop(cluster.remove_endpoint_slice(&slice.key)),
        Object::Workload(_) => {}
    }
}

fn nameless(kind: Kind) {
    tracing::warn!(kind = kind.name(), "the API server has sent an object without a name; it is left out");
}

#[cfg(test)]
mod tests;
