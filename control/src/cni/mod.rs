//! The CNI plugin `podgate-cni`, and how it gets on a node.
//!
//! ```text
//! settings   what the plugin is told in its entry of a network configuration
//! conflist   that entry in the text of somebody else's configuration
//! install    the program and its entry put on a node, and taken off it
//! ```

mod conflist;
mod install;
mod settings;

pub use conflist::{ConfProblem, PLUGIN};
pub use install::{InstallError, Installed, Places, install, uninstall};
pub use settings::{BadSetting, DEFAULT_SOCKET, DEFAULT_TIMEOUT, Mode, Settings, parse_timeout};
