//! What a lab is made from: the user's files, and what is laid over them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Edit, Lab, LabError, LabHost, Role, services};
use crate::source::{Directory, Loaded, Overlay, RawObject, Untraced, Workloads, raw_objects};

/// The file of a lab's directory with what is laid over its manifests.
const OVERLAY: &str = "pod-ips.yaml";
/// The file of a lab's directory with the paths of its manifests.
const GIVEN: &str = "manifests.json";

impl Lab {
    /// Takes note of where the lab's manifests are, and gives pods and Services their addresses;
    /// returns the arguments by which `podgate run` reads the same.
    pub fn set_manifests(&self, paths: &[PathBuf]) -> Result<Vec<OsString>, LabError> {
        let absolute: io::Result<Vec<PathBuf>> = paths.iter().map(std::path::absolute).collect();
        let given =
            absolute.map_err(|source| self.directory.error("find the manifests beside it", source))?;
        let text = serde_json::to_vec(&given).map_err(io::Error::from);
        self.write_file(GIVEN, text)?;
        let source = Directory::new(given).with_workloads(Workloads::Replicas);
        let (loaded, _) = source.load_traced().map_err(LabError::Manifests)?;
        let overlay = Self::addressed(Overlay::default(), &loaded, &self.plan.hosts)?;
        self.write_overlay(&overlay)?;
        Ok(self.arguments(&source))
    }

    /// The arguments by which the lab's programs read what it was made from.
    pub(super) fn arguments(&self, source: &Directory) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        for path in source.paths() {
            arguments.extend(["--manifests".into(), path.into()]);
        }
        arguments.extend(["--workloads".into(), "--pod-ips".into(), self.overlay_path().into()]);
        arguments
    }

    /// `overlay` with addresses for the pods and Services that have none.
    pub(super) fn addressed(
        mut overlay: Overlay,
        loaded: &Loaded,
        hosts: &[LabHost],
    ) -> Result<Overlay, LabError> {
        let pods = loaded.cluster.pods();
        overlay.pods = hosts
            .iter()
            .filter(|host| host.role == Role::Pod)
            .filter_map(|host| Some((host.reference.parse().ok()?, host.addresses.clone())))
            .filter(|(key, _)| pods.get(key).is_some_and(|pod| pod.addresses.is_empty()))
            .collect();
        let pairs = hosts
            .iter()
            .filter(|host| host.role == Role::Pod)
            .flat_map(|host| host.addresses.iter().map(|address| (host.reference.as_str(), *address)));
        overlay.services = services::assign(&loaded.cluster, &overlay.services, &pairs)?;
        let has = |title: &str| match title.split_once(' ') {
            Some(("Pod", key)) => key.parse().is_ok_and(|key| pods.contains_key(&key)),
            Some(("Namespace", name)) => loaded.cluster.namespaces().contains_key(name),
            _ => false,
        };
        overlay.labels.retain(|title, _| has(title));
        Ok(overlay)
    }

    /// The objects that the lab has, as they are written in its files and laid over them.
    pub fn declared(&self) -> Result<Vec<RawObject>, LabError> {
        Ok(self.edit_of(self.read_overlay()?)?.objects())
    }

    /// The files with what is laid over them, to be changed.
    pub(super) fn edit_of(&self, overlay: Overlay) -> Result<Edit, LabError> {
        let texts = self.source()?.texts_now();
        let texts = texts.map_err(|errors| LabError::Manifests(Untraced { errors, texts: Vec::new() }))?;
        let given = texts.iter().flat_map(|(_, text)| raw_objects(&String::from_utf8_lossy(text)));
        Ok(Edit::new(given.collect::<Vec<RawObject>>(), overlay))
    }

    /// The files that the lab was made from.
    pub(super) fn source(&self) -> Result<Directory, LabError> {
        let path = self.directory().join(GIVEN);
        let read = fs::read(&path);
        let bytes =
            read.map_err(|source| LabError::Record { path: path.clone(), operation: "read it", source })?;
        let given: Vec<PathBuf> =
            serde_json::from_slice(&bytes).map_err(|source| LabError::BadRecord { path, source })?;
        Ok(Directory::new(given).with_workloads(Workloads::Replicas))
    }

    fn overlay_path(&self) -> PathBuf {
        self.directory().join(OVERLAY)
    }

    pub(super) fn read_overlay(&self) -> Result<Overlay, LabError> {
        let path = self.overlay_path();
        let read = fs::read_to_string(&path)
            .and_then(|text| Overlay::parse(&text).map_err(|error| io::Error::other(error.to_string())));
        read.map_err(|source| LabError::Record { path, operation: "read it", source })
    }

    pub(super) fn write_overlay(&self, overlay: &Overlay) -> Result<(), LabError> {
        self.write_file(OVERLAY, Ok(overlay.to_text().into_bytes()))
    }

    /// In one step, for whoever reads it meanwhile.
    fn write_file(&self, name: &str, text: io::Result<Vec<u8>>) -> Result<(), LabError> {
        let (path, new) = (self.directory().join(name), self.directory().join(format!(".{name}.new")));
        let written = text.and_then(|text| fs::write(&new, text)).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| LabError::Record { path, operation: "write it", source })
    }
}
