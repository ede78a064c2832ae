//! The CNI plugin `podgate-cni`, and how it gets on a node.
//!
//! ```text
//! plugin         a command of the runtime, from its start to what it prints
//! environment    what the runtime says in the environment
//! configuration  what it writes to standard input
//! settings       our own part of that
//! previous       the result of the plugin before ours
//! version        versions of the specification
//! sandbox        the device that leads to a container
//! error          what the runtime is told when a command fails
//! conflist       our entry in the text of somebody else's configuration
//! install        the program and its entry put on a node, and taken off it
//! ```
//!
//! The plugin is a program of its own: it runs once for every pod that starts, and has to be quick.

mod configuration;
mod conflist;
mod environment;
mod error;
mod install;
mod plugin;
mod previous;
mod sandbox;
mod settings;
mod version;

pub use configuration::Configuration;
pub use conflist::{ConfProblem, PLUGIN};
pub use environment::{Command, Container};
pub use error::{CniError, Code};
pub use install::{InstallError, Installed, Places, Uninstalled, install, uninstall};
pub use plugin::main;
pub use previous::PreviousResult;
pub use settings::{BadSetting, DEFAULT_SOCKET, DEFAULT_TIMEOUT, Mode, Settings, parse_timeout};
pub use version::Version;
