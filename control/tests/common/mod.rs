//! Namespaces that go away with the test, also when it panics.
#![allow(dead_code, missing_docs)]

pub mod labs;

use std::ops::Deref;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use podgate_control::net::Netns;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name no other test has.
pub fn unique(stem: &str) -> String {
    format!("{stem}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A named namespace that is deleted when dropped.
pub struct Scratch(Netns);

impl Scratch {
    pub fn new() -> Self {
        Self(Netns::create(&unique("pgt-")).expect("a namespace; these tests need root"))
    }

    /// What a command in the namespace prints; it must succeed.
    pub fn output(&self, program: &str, arguments: &[&str]) -> String {
        output_in(&self.0, program, arguments)
    }
}

impl Deref for Scratch {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Netns::delete_at(self.0.path());
    }
}

/// What a command in a namespace prints; it must succeed.
pub fn output_in(netns: &Netns, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = netns.run(move || command.output()).expect("enter").expect("start");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text.into_owned()
}
