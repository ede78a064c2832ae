//! The kustomize base.

use std::collections::BTreeSet;
use std::fs;

use crate::objects::{assert_known, configuration, daemon_set, folder, kustomized};

#[test]
fn the_base_is_made_of_objects_that_kubernetes_has() {
    let objects = kustomized();
    let kinds: Vec<&str> = objects.keys().map(|(kind, _)| kind.as_str()).collect();
    let expected =
        ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Namespace", "ServiceAccount"];
    assert_eq!(kinds, expected);
    assert_known(&objects);
}

#[test]
#[should_panic(expected = "hostnetwork")]
fn a_field_that_kubernetes_does_not_have_is_found() {
    let mut objects = kustomized();
    let key = ("DaemonSet".to_owned(), "podgate".to_owned());
    objects.get_mut(&key).unwrap()["spec"]["template"]["spec"]["hostnetwork"] = true.into();
    assert_known(&objects);
}

#[test]
fn what_is_named_is_there() {
    let objects = kustomized();
    let has = |kind: &str, name: &str| objects.contains_key(&(kind.to_owned(), name.to_owned()));
    let daemon_set = daemon_set(&objects);
    let template = daemon_set.spec.unwrap().template;
    let pod = template.spec.unwrap();
    assert!(has("ServiceAccount", pod.service_account_name.as_deref().unwrap()));
    let volumes = pod.volumes.unwrap();
    let config = volumes.iter().find_map(|volume| volume.config_map.as_ref()).unwrap();
    assert!(has("ConfigMap", &config.name));
    let named: BTreeSet<_> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    let init = pod.init_containers.unwrap();
    let mounts =
        init.iter().chain(&pod.containers).flat_map(|container| container.volume_mounts.iter().flatten());
    let mounted: BTreeSet<_> = mounts.map(|mount| mount.name.as_str()).collect();
    assert_eq!(mounted, named, "every volume is mounted, and the other way round");
    let binding = &objects[&("ClusterRoleBinding".to_owned(), "podgate".to_owned())];
    assert!(has("ClusterRole", binding["roleRef"]["name"].as_str().unwrap()));
    assert!(has("ServiceAccount", binding["subjects"][0]["name"].as_str().unwrap()));
    // Everything that has one is in the one namespace.
    for ((kind, _), object) in &objects {
        let is_cluster_wide = ["ClusterRole", "ClusterRoleBinding", "Namespace"].contains(&kind.as_str());
        let namespace = object["metadata"]["namespace"].as_str();
        assert_eq!(namespace, (!is_cluster_wide).then_some("podgate-system"), "{kind}");
    }
}

#[test]
fn it_asks_for_no_more_than_it_needs() {
    let objects = kustomized();
    let pod = daemon_set(&objects).spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.host_network, Some(true));
    assert_eq!((pod.host_pid, pod.host_ipc), (None, None));
    let init = pod.init_containers.unwrap();
    for container in init.iter().chain(&pod.containers) {
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.privileged, None, "{}", container.name);
        assert_eq!(security.read_only_root_filesystem, Some(true), "{}", container.name);
        assert_eq!(security.capabilities.as_ref().unwrap().drop.as_deref(), Some(&["ALL".to_owned()][..]));
    }
    // A mount that reaches back to the host would take a privileged container.
    let mounts = pod.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    assert!(mounts.into_iter().all(|mount| mount.mount_propagation.as_deref() != Some("Bidirectional")));
    let role = &objects[&("ClusterRole".to_owned(), "podgate".to_owned())];
    for rule in role["rules"].as_array().unwrap() {
        let text = rule.to_string();
        assert!(!text.contains('*') && !text.contains("secrets"), "{text}");
    }
}

#[test]
fn probes_ask_where_the_configuration_listens() {
    let objects = kustomized();
    let configuration = configuration(&objects);
    let listen = configuration.lines().find_map(|line| line.strip_prefix("listen: ")).unwrap();
    let pod = daemon_set(&objects).spec.unwrap().template.spec.unwrap();
    let container = &pod.containers[0];
    for (probe, path) in [(&container.liveness_probe, "/healthz"), (&container.readiness_probe, "/readyz")] {
        let asked = probe.as_ref().unwrap().http_get.as_ref().unwrap();
        let port = serde_json::to_value(&asked.port).unwrap();
        assert_eq!(format!("{}:{port}", asked.host.as_ref().unwrap()), listen);
        assert_eq!(asked.path.as_deref(), Some(path));
    }
}

#[test]
fn the_image_is_built_by_the_toolchain_and_with_the_packages_of_the_project() {
    let dockerfile = fs::read_to_string(folder("Dockerfile")).unwrap();
    let toolchain = fs::read_to_string(folder("../rust-toolchain.toml")).unwrap();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let minor = channel.trim_matches('"').rsplit_once('.').unwrap().0;
    assert!(dockerfile.contains(&format!("FROM rust:{minor}-")), "{channel}");
    let scripts = fs::read_to_string(folder("../scripts/lib.sh")).unwrap();
    let packages = scripts.lines().find_map(|line| line.strip_prefix("readonly packages_build=(")).unwrap();
    // The image has a compiler of its own.
    for package in packages.trim_end_matches(')').split(' ') {
        let is_there = ["ca-certificates", "gcc", "libc6-dev"].contains(&package);
        assert!(is_there || dockerfile.split_whitespace().any(|word| word == package), "{package}");
    }
}
