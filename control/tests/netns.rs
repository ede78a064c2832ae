//! Network namespaces: created, entered, deleted.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Scratch, unique};
use podgate_control::net::{NetError, Netns};

#[test]
fn a_named_namespace_is_seen_by_ip_netns_until_deleted() {
    let netns = Scratch::new();
    let name = netns.label().to_owned();
    let list = || {
        let output = Command::new("ip").args(["netns", "list"]).output().expect("ip");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(list().lines().any(|line| line.split(' ').next() == Some(&name)));
    assert!(matches!(Netns::create(&name), Err(NetError::NamespaceExists { .. })));

    Netns::clone(&netns).delete().expect("deleted");
    assert!(!list().contains(&name));
    assert!(!Path::new("/run/netns").join(&name).exists());
    assert!(matches!(Netns::open(&name), Err(NetError::NoSuchNamespace { .. })));
    Netns::clone(&netns).delete().expect("deleting again is no error");
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let netns = Scratch::new();
    let own = Netns::current().expect("own").inode().expect("inode");
    let inside = netns.run(|| Netns::current().and_then(|found| found.inode())).expect("run").expect("inode");
    assert_eq!(inside, netns.inode().expect("inode"));
    assert_ne!(inside, own);
    let cookie = |netns: &Netns| netns.cookie().expect("a cookie");
    assert_eq!(cookie(&netns), cookie(&Netns::open_at(netns.path()).expect("opened")));
    assert_ne!(cookie(&netns), cookie(&Netns::current().expect("own")));
    assert_eq!(Netns::current().expect("own").inode().expect("inode"), own);

    let inside = netns
        .run_async(|| async {
            // A task of the runtime is on the same thread, so in the same namespace.
            tokio::spawn(async { Netns::current().and_then(|found| found.inode()) }).await
        })
        .expect("run");
    assert_eq!(inside.expect("joined").expect("inode"), netns.inode().expect("inode"));
}

#[test]
fn a_child_lives_in_the_namespace_it_was_spawned_in() {
    let netns = Scratch::new();
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/net").stdout(Stdio::piped());
    let output = netns.spawn(command).expect("spawned").wait_with_output().expect("waited");
    let link = String::from_utf8(output.stdout).expect("text");
    assert_eq!(link.trim(), format!("net:[{}]", netns.inode().expect("inode")));

    let error = netns.spawn(Command::new("/nowhere/at-all")).expect_err("no such program");
    assert!(error.to_string().contains("/nowhere/at-all"), "{error}");
}

#[test]
fn a_private_namespace_is_bound_where_asked_and_hidden_from_ip_netns() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trunk.netns");
    let netns = Netns::create_at(&path).expect("created");
    assert_eq!(Netns::open_at(&path).expect("open").inode().expect("inode"), netns.inode().expect("inode"));
    assert!(matches!(Netns::create_at(&path), Err(NetError::NamespaceExists { .. })));
    netns.delete().expect("deleted");
    assert!(!path.exists());
}

#[test]
fn a_plain_file_left_by_a_creation_cut_short_can_be_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("half.netns");
    std::fs::write(&path, "").expect("written");
    Netns::delete_at(&path).expect("deleted");
    assert!(!path.exists());
}

#[test]
fn names_that_would_leave_the_directory_are_refused() {
    for name in ["", ".", "..", "a/b", "../x", &"n".repeat(256)] {
        assert!(matches!(Netns::create(name), Err(NetError::BadName { .. })), "{name}");
    }
}

#[test]
fn sysctls_are_those_of_the_namespace() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let key = "net/ipv4/ip_forward";
    let outside = std::fs::read_to_string(Path::new("/proc/sys").join(key)).expect("read");
    one.write_sysctls(&[(key, "1")]).expect("written");
    other.write_sysctls(&[(key, "0")]).expect("written");
    assert_eq!(one.read_sysctl(key).expect("read"), "1");
    assert_eq!(other.read_sysctl(key).expect("read"), "0");
    assert_eq!(std::fs::read_to_string(Path::new("/proc/sys").join(key)).expect("read"), outside);

    one.disable_ipv6("lo").expect("disabled");
    assert_eq!(one.read_sysctl("net/ipv6/conf/lo/disable_ipv6").expect("read"), "1");
    assert_eq!(other.read_sysctl("net/ipv6/conf/lo/disable_ipv6").expect("read"), "0");
    let error = one.write_sysctls(&[("net/ipv4/no_such_key", "1")]).expect_err("no such key");
    assert!(error.to_string().contains("net/ipv4/no_such_key"), "{error}");
}

/// Without anyone having used `ip netns` before: in a mount namespace with an empty `/run`.
#[test]
fn the_directory_is_made_a_shared_mount_where_it_is_not() {
    if let Some(name) = std::env::var_os("PODGATE_TEST_FRESH_RUN") {
        let name = name.into_string().expect("text");
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let name = format!("{name}-{number}");
                std::thread::spawn(move || Netns::create(&name).map(drop))
            })
            .collect();
        for thread in threads {
            thread.join().expect("joined").expect("created");
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
        // One of the machine's own may lie hidden beneath the new /run.
        let is_own = |line: &&str| line.split(' ').nth(4) == Some("/run/netns") && line.contains("- tmpfs");
        let own: Vec<&str> = mounts.lines().filter(is_own).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(own[0].contains("shared:"), "{own:?}");
        return;
    }
    let test = std::env::current_exe().expect("this test");
    let script = "mount -t tmpfs none /run && exec \"$0\" --exact \
                  the_directory_is_made_a_shared_mount_where_it_is_not";
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(test)
        .env("PODGATE_TEST_FRESH_RUN", unique("pgt-"))
        .stdout(Stdio::null())
        .status()
        .expect("unshare");
    assert!(status.success());
}
