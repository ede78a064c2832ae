//! podgate-cni put on a node, and taken off it: the program, and its entry in the network configuration.
//!
//! Each file is replaced in one step, so that a runtime that reads at any moment finds a whole one. The
//! program is there before a configuration names it, and goes after none does.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::conflist::{self, ConfProblem, PLUGIN};
use super::settings::Settings;

/// What a single configuration is kept as while a list stands in its place. No runtime reads that.
const KEPT: &str = "before-podgate";
/// What runtimes read in the configuration directory.
const READ_BY_RUNTIMES: [&str; 3] = ["conf", "conflist", "json"];

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be read, written or moved.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Files {
        /// What was tried.
        operation: &'static str,
        /// With which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no configuration to be in.
    #[error(
        "there is no network configuration in {}: install the CNI (Flannel, bridge) first, or name its directory \
         with --cni-conf-dir",
        .directory.display()
    )]
    NoConfiguration {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A configuration cannot take us, or lose us.
    #[error("{}: {problem}", .path.display())]
    Configuration {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: ConfProblem,
    },
}

/// Where a node keeps its plugins and configurations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Programs, usually `/opt/cni/bin`.
    pub bin_dir: PathBuf,
    /// Configurations, usually `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
}

/// What there is after an installation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    /// The program.
    pub program: PathBuf,
    /// The configuration that names it.
    pub configuration: PathBuf,
    /// Whether the program was copied.
    pub is_copied: bool,
    /// Whether the configuration was changed for it.
    pub is_changed: bool,
}

/// Copies `program` to the node and puts our entry in the configuration that runtimes take: the first one by
/// name. What is there already is brought up to date.
pub fn install(places: &Places, program: &Path, settings: &Settings) -> Result<Installed, InstallError> {
    let Some(configuration) = configurations(&places.conf_dir)?.into_iter().next() else {
        return Err(InstallError::NoConfiguration { directory: places.conf_dir.clone() });
    };
    // Found good before anything is written.
    let change = change(&configuration, &settings.entry())?;
    let bytes = fs::read(program).map_err(failed("read", program))?;
    let target = places.bin_dir.join(PLUGIN);
    let is_copied = fs::read(&target).ok().as_ref() != Some(&bytes) || !is_executable(&target);
    if is_copied {
        fs::create_dir_all(&places.bin_dir).map_err(failed("make", &places.bin_dir))?;
        replace(&target, &bytes, 0o755)?;
    }
    let is_changed = change.is_some();
    let configuration = match change {
        Some(change) => change.apply()?,
        None => configuration,
    };
    Ok(Installed { program: target, configuration, is_copied, is_changed })
}

/// What an end of an installation took away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uninstalled {
    /// The configurations that were changed.
    pub configurations: Vec<PathBuf>,
    /// The program, if it was there.
    pub program: Option<PathBuf>,
}

/// Takes our entry out of every configuration, gives back those that were made lists for it, and removes
/// the program. What is not there is no error.
pub fn uninstall(places: &Places) -> Result<Uninstalled, InstallError> {
    let mut changed = Vec::new();
    for path in configurations(&places.conf_dir)? {
        if !is_list(&path) {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let without = conflist::without_entry(&text);
        // A file that is nothing to us is none of our business.
        let Some(without) = without.or_else(|problem| refuse_ours(&path, problem))? else { continue };
        match kept_for(&path) {
            Some((kept, original)) => {
                fs::rename(&kept, &original).map_err(failed("move", &kept))?;
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                changed.push(original);
            }
            None => {
                replace(&path, without.as_bytes(), mode_of(&path)?)?;
                changed.push(path);
            }
        }
    }
    let program = places.bin_dir.join(PLUGIN);
    let program = match fs::remove_file(&program) {
        Ok(()) => Some(program),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("remove", &program)(error)),
    };
    Ok(Uninstalled { configurations: changed, program })
}

/// A configuration as it is to be.
struct Change {
    /// What it is to be written to.
    to: PathBuf,
    text: String,
    mode: u32,
    /// A single configuration in whose place it comes.
    instead_of: Option<PathBuf>,
}

impl Change {
    fn apply(self) -> Result<PathBuf, InstallError> {
        replace(&self.to, self.text.as_bytes(), self.mode)?;
        if let Some(single) = self.instead_of {
            // Until here the single one counts, as it comes first by name.
            let kept = with_more(&single, KEPT);
            fs::rename(&single, &kept).map_err(failed("move", &single))?;
        }
        Ok(self.to)
    }
}

/// What has to be done for `entry` to be in the configuration at `path`.
fn change(path: &Path, entry: &str) -> Result<Option<Change>, InstallError> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let wrong = |problem| InstallError::Configuration { path: path.into(), problem };
    let mode = mode_of(path)?;
    if is_list(path) {
        let text = conflist::with_entry(&text, entry).map_err(wrong)?;
        return Ok(text.map(|text| Change { to: path.into(), text, mode, instead_of: None }));
    }
    let text = conflist::list_of(&text, entry).map_err(wrong)?;
    Ok(Some(Change { to: path.with_extension("conflist"), text, mode, instead_of: Some(path.into()) }))
}

/// All configurations that runtimes read, in the order in which they take them.
fn configurations(directory: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", directory))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", directory))?.path();
        let is_read =
            path.extension().is_some_and(|kind| READ_BY_RUNTIMES.iter().any(|known| *known == kind));
        if is_read && path.is_file() {
            // Where it is a link, what it leads to is changed, and the link stays.
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The single configuration that `list` stands in the place of: as it is kept, and where it was.
fn kept_for(list: &Path) -> Option<(PathBuf, PathBuf)> {
    let originals = ["conf", "json"].map(|kind| list.with_extension(kind));
    originals
        .into_iter()
        .map(|original| (with_more(&original, KEPT), original))
        .find(|(kept, _)| kept.is_file())
}

/// Nothing to do about a file that cannot be read, unless it is ours alone.
fn refuse_ours(path: &Path, problem: ConfProblem) -> Result<Option<String>, InstallError> {
    match problem {
        ConfProblem::OnlyOurs => Err(InstallError::Configuration { path: path.into(), problem }),
        _ => Ok(None),
    }
}

/// Writes a file beside `path` and moves it there: a reader finds the old one or the new one.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InstallError> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let new = with_more(path, "podgate-new");
    let written = File::create(&new).and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
        let _ = fs::remove_file(&new);
        return Err(failed("write", path)(error));
    }
    Ok(())
}

fn with_more(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(more);
    name.into()
}

fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "conflist")
}

fn is_executable(path: &Path) -> bool {
    mode_of(path).is_ok_and(|mode| mode & 0o111 == 0o111)
}

fn mode_of(path: &Path) -> Result<u32, InstallError> {
    let found = fs::metadata(path).map_err(failed("read", path))?;
    Ok(found.permissions().mode() & 0o7777)
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> InstallError + use<'a> {
    move |source| InstallError::Files { operation, path: path.into(), source }
}

#[cfg(test)]
mod tests;
