//! Installed and uninstalled in directories of the test's own.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

const LIST: &str = "{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"n\",\n  \"plugins\": [\n    {\"type\": \"bridge\"}\n  ]\n}\n";
const SINGLE: &str = "{\"cniVersion\": \"0.3.1\", \"name\": \"s\", \"type\": \"bridge\"}\n";

/// A node's two directories, and the program to be installed.
struct Machine {
    dir: tempfile::TempDir,
    places: Places,
    program: PathBuf,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { bin_dir: dir.path().join("opt/bin"), conf_dir: dir.path().join("net.d") };
        fs::create_dir(&places.conf_dir).unwrap();
        for (name, text) in files {
            fs::write(places.conf_dir.join(name), text).unwrap();
        }
        let program = dir.path().join("built");
        fs::write(&program, "the program").unwrap();
        Self { dir, places, program }
    }

    fn install(&self) -> Result<Installed, InstallError> {
        install(&self.places, &self.program, &Settings::default())
    }

    fn confs(&self) -> BTreeMap<String, String> {
        let files = fs::read_dir(&self.places.conf_dir).unwrap().map(|entry| entry.unwrap());
        files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
            .collect()
    }
}

fn plugins(text: &str) -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(text).unwrap();
    let plugins = list["plugins"].as_array().unwrap().iter();
    plugins.map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_first_configuration_gets_the_entry_and_others_stay() {
    let machine = Machine::new(&[
        ("10-a.conflist", LIST),
        ("20-b.conflist", LIST),
        ("05-note.txt", "{"),
        ("00-old.conf.bak", ""),
    ]);
    let before = machine.confs();
    let list = machine.places.conf_dir.join("10-a.conflist");
    fs::set_permissions(&list, Permissions::from_mode(0o600)).unwrap();
    let installed = machine.install().unwrap();
    let program = machine.places.bin_dir.join("podgate-cni");
    assert_eq!(
        installed,
        Installed {
            program: program.clone(),
            configuration: list.clone(),
            is_copied: true,
            is_changed: true
        }
    );
    let after = machine.confs();
    assert_eq!(plugins(&after["10-a.conflist"]), ["bridge", "podgate-cni"]);
    let others = |files: &BTreeMap<String, String>| {
        files
            .iter()
            .filter(|(name, _)| *name != "10-a.conflist")
            .map(|(_, text)| text.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before));
    assert_eq!(mode_of(&list).unwrap(), 0o600);
    assert_eq!((fs::read(&program).unwrap(), mode_of(&program).unwrap()), (b"the program".into(), 0o755));

    // Once more: nothing is written, not even the same.
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let inodes = (inode(&program), inode(&list));
    let again = machine.install().unwrap();
    assert!(!again.is_changed && !again.is_copied);
    assert_eq!((inode(&program), inode(&list)), inodes);
    // Another version of the program.
    fs::write(&machine.program, "the next program").unwrap();
    let updated = machine.install().unwrap();
    assert!(!updated.is_changed && updated.is_copied);
    assert_eq!(fs::read(&program).unwrap(), b"the next program");

    let gone = uninstall(&machine.places).unwrap();
    assert_eq!((gone.configurations, gone.program.as_ref()), (vec![list], Some(&program)));
    assert_eq!(machine.confs(), before);
    assert!(!program.exists());
    let nothing = uninstall(&machine.places).unwrap();
    assert_eq!(nothing, Uninstalled { configurations: vec![], program: None });
}

#[test]
fn a_single_configuration_becomes_a_list_and_comes_back() {
    let machine = Machine::new(&[("10-s.conf", SINGLE), ("20-b.conflist", LIST)]);
    let before = machine.confs();
    let installed = machine.install().unwrap();
    assert_eq!(installed.configuration, machine.places.conf_dir.join("10-s.conflist"));
    let after = machine.confs();
    assert_eq!(plugins(&after["10-s.conflist"]), ["bridge", "podgate-cni"]);
    assert_eq!(after["10-s.conf.before-podgate"], SINGLE);
    assert!(!after.contains_key("10-s.conf"));
    assert!(!machine.install().unwrap().is_changed);
    // An installation that was cut short between the two steps is finished.
    fs::rename(
        machine.places.conf_dir.join("10-s.conf.before-podgate"),
        machine.places.conf_dir.join("10-s.conf"),
    )
    .unwrap();
    assert!(machine.install().unwrap().is_changed);
    assert_eq!(machine.confs(), after);
    uninstall(&machine.places).unwrap();
    assert_eq!(machine.confs(), before);
}

#[test]
fn a_link_stays_one() {
    let machine = Machine::new(&[]);
    let real = machine.dir.path().join("real.conflist");
    fs::write(&real, LIST).unwrap();
    let link = machine.places.conf_dir.join("10-a.conflist");
    symlink(&real, &link).unwrap();
    machine.install().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(plugins(&fs::read_to_string(&real).unwrap()), ["bridge", "podgate-cni"]);
}

#[test]
fn nothing_is_touched_where_something_is_wrong() {
    let machine = Machine::new(&[]);
    assert!(matches!(machine.install(), Err(InstallError::NoConfiguration { .. })));
    fs::remove_dir(&machine.places.conf_dir).unwrap();
    assert!(matches!(machine.install(), Err(InstallError::NoConfiguration { .. })));

    let machine = Machine::new(&[("10-a.conflist", "{\"plugins\": ["), ("20-b.conflist", LIST)]);
    let before = machine.confs();
    let error = machine.install().unwrap_err().to_string();
    assert!(error.contains("10-a.conflist: it is no network configuration"), "{error}");
    assert_eq!(machine.confs(), before);
    assert!(!machine.places.bin_dir.exists());
    // What is broken was not made so by us, and does not keep us from going.
    assert!(uninstall(&machine.places).unwrap().configurations.is_empty());
    assert_eq!(machine.confs(), before);

    let machine = Machine::new(&[("10-a.conflist", LIST)]);
    fs::remove_file(&machine.program).unwrap();
    let error = machine.install().unwrap_err().to_string();
    assert!(error.contains("built"), "{error}");
    assert_eq!(machine.confs()["10-a.conflist"], LIST);
}
