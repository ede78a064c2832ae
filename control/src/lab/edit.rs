//! Objects applied, deleted, labelled, scaled: what a lab has besides the files it was made from.
//!
//! The user's files are never written. What differs from them is kept in the overlay, and as little
//! of it as can be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::model::Labels;
use crate::source::{LabelChanges, Overlay, RawObject};

/// A change of a lab's objects, in the making.
#[derive(Clone, Debug)]
pub struct Edit {
    given: BTreeMap<String, RawObject>,
    overlay: Overlay,
}

/// What became of one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edited {
    /// It was not there.
    Created,
    /// It was there, and another.
    Configured,
    /// It was there, and the same.
    Unchanged,
    /// It is there no longer.
    Deleted,
    /// Its labels are others.
    Labeled,
    /// Its labels are what they were.
    NotLabeled,
    /// It asks for another number of pods.
    Scaled,
}

/// Why an object cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not there.
    #[error("{title} not found")]
    NotFound {
        /// Kind and name.
        title: String,
    },
    /// A label has another value.
    #[error("{title} has the label {key}={value} already; --overwrite replaces it")]
    HasLabel {
        /// Kind and name.
        title: String,
        /// The label's key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Its pods are not counted.
    #[error("{title} cannot be scaled; a Deployment, ReplicaSet, StatefulSet or ReplicationController can")]
    NotScalable {
        /// Kind and name.
        title: String,
    },
    /// A pod of a workload.
    #[error("{title} belongs to {owner}, which would make another in its place; scale or delete {owner}")]
    Owned {
        /// The pod.
        title: String,
        /// What makes it.
        owner: String,
    },
}

impl Edited {
    /// As kubectl says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Labeled => "labeled",
            Self::NotLabeled => "not labeled",
            Self::Scaled => "scaled",
        }
    }
}

impl Edit {
    /// On top of files that hold `given`, and of what was laid over them before.
    pub fn new(given: impl IntoIterator<Item = RawObject>, overlay: Overlay) -> Self {
        Self { given: given.into_iter().map(|object| (object.title(), object)).collect(), overlay }
    }

    /// What is laid over the files then. Nothing is kept of objects that the files have lost.
    pub fn into_overlay(mut self) -> Overlay {
        self.overlay.absent.retain(|title| self.given.contains_key(title));
        self.overlay
    }

    /// The object of that title, as it is now.
    pub fn object(&self, title: &str) -> Option<RawObject> {
        match self.overlay.objects.get(title) {
            Some(value) => RawObject::of(value.clone()),
            None if self.overlay.absent.contains(title) => None,
            None => self.given.get(title).cloned(),
        }
    }

    /// All objects, as they are now, in the order of their titles.
    pub fn objects(&self) -> Vec<RawObject> {
        let titles: BTreeSet<&String> = self.given.keys().chain(self.overlay.objects.keys()).collect();
        titles.into_iter().filter_map(|title| self.object(title)).collect()
    }

    /// The titles of all objects in a namespace.
    pub fn titles_in(&self, namespace: &str) -> Vec<String> {
        let laid = self.overlay.objects.values().filter_map(|value| RawObject::of(value.clone()));
        let mut all: Vec<String> = laid
            .chain(self.given.values().cloned())
            .filter(|object| object.namespace.as_deref() == Some(namespace))
            .map(|object| object.title())
            .filter(|title| self.object(title).is_some())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Puts an object in the place of the one of its title. Labels that were given to it by hand
    /// stay, unless it has them itself.
    pub fn put(&mut self, object: RawObject) -> Edited {
        let title = object.title();
        let is_relabeled = self.forget_own_labels(&title, &object);
        let before = self.object(&title);
        let edited = match &before {
            None => Edited::Created,
            Some(before) if before.value == object.value && !is_relabeled => Edited::Unchanged,
            Some(_) => Edited::Configured,
        };
        self.overlay.absent.remove(&title);
        if self.given.get(&title).is_some_and(|given| given.value == object.value) {
            self.overlay.objects.remove(&title);
        } else {
            self.overlay.objects.insert(title, object.value);
        }
        edited
    }

    /// Takes an object away.
    pub fn delete(&mut self, title: &str) -> Result<Edited, EditError> {
        if self.object(title).is_none() {
            return Err(EditError::NotFound { title: title.to_owned() });
        }
        self.overlay.objects.remove(title);
        self.overlay.labels.remove(title);
        if self.given.contains_key(title) {
            self.overlay.absent.insert(title.to_owned());
        }
        Ok(Edited::Deleted)
    }

    /// Changes labels of a pod or namespace that has `now`.
    pub fn label(
        &mut self,
        title: &str,
        now: &Labels,
        changes: LabelChanges,
        overwrite: bool,
    ) -> Result<Edited, EditError> {
        let mut edited = Edited::NotLabeled;
        for (key, value) in changes {
            match (now.get(&key), &value) {
                (None, None) => continue,
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(_)) if !overwrite => {
                    let (title, value) = (title.to_owned(), old.clone());
                    return Err(EditError::HasLabel { title, key, value });
                }
                _ => edited = Edited::Labeled,
            }
            self.overlay.labels.entry(title.to_owned()).or_default().insert(key, value);
        }
        Ok(edited)
    }

    /// Lets a workload ask for another number of pods.
    pub fn scale(&mut self, title: &str, replicas: u32) -> Result<Edited, EditError> {
        let mut object = self.object(title).ok_or_else(|| EditError::NotFound { title: title.to_owned() })?;
        if !["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"]
            .contains(&object.kind.as_str())
        {
            return Err(EditError::NotScalable { title: title.to_owned() });
        }
        object.value["spec"]["replicas"] = json!(replicas);
        self.put(object);
        Ok(Edited::Scaled)
    }

    /// Returns whether there were any.
    fn forget_own_labels(&mut self, title: &str, object: &RawObject) -> bool {
        let Some(changes) = self.overlay.labels.get_mut(title) else { return false };
        let own = &object.value["metadata"]["labels"];
        let before = changes.len();
        changes.retain(|key, _| own.get(key).is_none());
        let forgotten = changes.len() != before;
        if changes.is_empty() {
            self.overlay.labels.remove(title);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::raw_objects;

    fn object(text: &str) -> RawObject {
        raw_objects(text).pop().unwrap()
    }

    fn deployment(replicas: u32) -> RawObject {
        object(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec: {{replicas: \
             {replicas}}}\n"
        ))
    }

    const TITLE: &str = "Deployment shop/web";

    #[test]
    fn what_is_as_in_the_files_is_not_kept() {
        let mut edit = Edit::new([deployment(1)], Overlay::default());
        assert_eq!(edit.put(deployment(1)), Edited::Unchanged);
        assert_eq!(edit.clone().into_overlay(), Overlay::default());
        assert_eq!(edit.scale(TITLE, 3), Ok(Edited::Scaled));
        assert_eq!(edit.object(TITLE), Some(deployment(3)));
        assert_eq!(edit.put(deployment(3)), Edited::Unchanged);
        assert_eq!(edit.put(deployment(1)), Edited::Configured);
        assert_eq!(edit.clone().into_overlay(), Overlay::default());
        assert_eq!(edit.delete(TITLE), Ok(Edited::Deleted));
        assert_eq!(edit.titles_in("shop"), [] as [&str; 0]);
        assert_eq!(edit.delete(TITLE), Err(EditError::NotFound { title: TITLE.to_owned() }));
        assert_eq!(edit.put(deployment(1)), Edited::Created);
        assert_eq!(edit.into_overlay(), Overlay::default());
        let gone = Overlay { absent: [TITLE.to_owned()].into(), ..Overlay::default() };
        assert_eq!(Edit::new([], gone).into_overlay(), Overlay::default(), "the files have lost it too");
    }

    #[test]
    fn labels_by_hand_outlive_an_apply_that_does_not_name_them() {
        let pod = object("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\n");
        let title = pod.title();
        let mut edit = Edit::new([pod.clone()], Overlay::default());
        let now: Labels = [("app".to_owned(), "a".to_owned())].into();
        let change = |key: &str, value: Option<&str>| -> LabelChanges {
            [(key.to_owned(), value.map(str::to_owned))].into()
        };
        assert!(matches!(
            edit.label(&title, &now, change("app", Some("b")), false),
            Err(EditError::HasLabel { .. })
        ));
        assert_eq!(edit.label(&title, &now, change("app", Some("a")), false), Ok(Edited::NotLabeled));
        assert_eq!(edit.label(&title, &now, change("app", Some("b")), true), Ok(Edited::Labeled));
        assert_eq!(edit.label(&title, &now, change("tier", Some("x")), false), Ok(Edited::Labeled));
        assert_eq!(edit.put(pod), Edited::Configured, "app is what the manifest says again");
        assert_eq!(edit.into_overlay().labels, [(title, change("tier", Some("x")))].into());
    }
}
