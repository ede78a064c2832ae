//! The program understands what it is started with.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::objects::{chart, configuration, daemon_set, kustomized, said};

/// What `podgate run` would be told by that DaemonSet: option to value and where it comes from.
fn told(objects: &crate::objects::Objects) -> BTreeMap<String, (Vec<String>, String)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("podgate.yaml"), configuration(objects)).unwrap();
    let pod = daemon_set(objects).spec.unwrap().template.spec.unwrap();
    let container = pod.containers.into_iter().find(|container| container.name == "podgate").unwrap();
    let args = container.args.unwrap();
    assert_eq!(args[0], "run");
    // The same options, asked about instead of followed.
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.args(["config", "show", "-o", "json"]);
    let mounted = folder.path().to_str().unwrap();
    command.args(args[1..].iter().map(|arg| arg.replace("/etc/podgate", mounted)));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PODGATE_")) {
        command.env_remove(name);
    }
    for variable in container.env.unwrap() {
        command.env(&variable.name, variable.value.unwrap_or_else(|| "of-the-cluster".to_owned()));
    }
    let options: Vec<Value> = serde_json::from_str(&said(&command.output().unwrap())).unwrap();
    options
        .into_iter()
        .map(|option| {
            let values = option["values"].as_array().unwrap().iter();
            let values = values.map(|value| value.as_str().unwrap().to_owned()).collect();
            let source = option["source"].as_str().unwrap().to_owned();
            (option["option"].as_str().unwrap().to_owned(), (values, source))
        })
        .collect()
}

#[test]
fn the_configuration_is_one_that_it_takes() {
    for objects in
        [kustomized(), chart("podgate", "config: {cpus: [2], timeout: {icmp: 5s}, services: 'off'}")]
    {
        let told = told(&objects);
        let is = |option: &str, value: &str, source: &str| {
            assert_eq!(told[option], (vec![value.to_owned()], source.to_owned()), "{option}");
        };
        is("bridge", "cni0", "file");
        is("kubernetes", "true", "file");
        is("listen", "127.0.0.1:9474", "file");
        is("fallback", "closed", "file");
        is("node", "of-the-cluster", "environment");
        is("broadcast-pps", "400", "default");
        // What of it the host keeps is mounted from there.
        let pod = daemon_set(&objects).spec.unwrap().template.spec.unwrap();
        let mounts = pod.containers[0].volume_mounts.clone().unwrap();
        for option in ["run-dir", "state-dir"] {
            assert!(mounts.iter().any(|mount| mount.mount_path == told[option].0[0]), "{option}");
        }
    }
}

/// The init container's command, on a node in a folder.
#[test]
fn the_cni_step_is_put_on_the_node_that_is_mounted() {
    let objects = chart("podgate", "cni: {binDir: /opt/bin, confDir: /etc/net.d}");
    let pod = daemon_set(&objects).spec.unwrap().template.spec.unwrap();
    let container = &pod.init_containers.unwrap()[0];
    let host = tempfile::tempdir().unwrap();
    for mount in container.volume_mounts.as_ref().unwrap() {
        fs::create_dir_all(host.path().join(mount.mount_path.trim_start_matches('/'))).unwrap();
    }
    let conf = host.path().join("host/etc/net.d/10-flannel.conflist");
    let plugins = serde_json::json!([{"type": "flannel"}]);
    let list = serde_json::json!({"cniVersion": "1.0.0", "name": "cbr0", "plugins": plugins});
    fs::write(&conf, list.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    let mounted = format!("={}/host/", host.path().display());
    command.args(container.args.as_ref().unwrap().iter().map(|arg| arg.replace("=/host/", &mounted)));
    // Beside the program in the image.
    said(&command.args(["--plugin", env!("CARGO_BIN_EXE_podgate-cni")]).output().unwrap());
    assert!(host.path().join("host/opt/bin/podgate-cni").exists());
    let list: Value = serde_json::from_str(&fs::read_to_string(&conf).unwrap()).unwrap();
    assert_eq!(list["plugins"][1]["type"], "podgate-cni");
}
