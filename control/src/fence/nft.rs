//! The program nft: what it is told, and what it says.
//!
//! It is told in JSON (libnftables-json(5)), in one transaction each time. The `nftables` crate is not used: it does
//! not catch what nft says of errors, and has no type for numbers of devices.

use std::io;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Why nft has not done what it was told.
#[derive(Debug)]
pub(super) enum NftError {
    /// It could not be started.
    NotStarted(io::Error),
    /// It refused, and said why in one line.
    Refused(String),
}

/// Puts a ruleset in force.
pub(super) async fn apply(ruleset: &Value) -> Result<(), NftError> {
    run(&["-j", "-f", "-"], Some(ruleset)).await.map(|_| ())
}

/// Has the kernel judge a ruleset without putting it in force.
pub(super) async fn check(ruleset: &Value) -> Result<(), NftError> {
    run(&["-c", "-j", "-f", "-"], Some(ruleset)).await.map(|_| ())
}

/// What is in a table, as JSON.
pub(super) async fn list(family: &str, table: &str) -> Result<String, NftError> {
    run(&["-j", "list", "table", family, table], None).await
}

async fn run(words: &[&str], input: Option<&Value>) -> Result<String, NftError> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut command = Command::new("nft");
    command.args(words).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut nft = command.spawn().map_err(NftError::NotStarted)?;
    if let (Some(input), Some(mut stdin)) = (input, nft.stdin.take()) {
        // One that has ended before it has read all says why.
        let _ = stdin.write_all(input.to_string().as_bytes()).await;
    }
    let Output { status, stdout, stderr } = nft.wait_with_output().await.map_err(NftError::NotStarted)?;
    if !status.success() {
        return Err(NftError::Refused(reason(&String::from_utf8_lossy(&stderr))));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// What nft said, without where in its input it said so.
fn reason(stderr: &str) -> String {
    let said = stderr.lines().find(|line| line.contains("Error: ")).unwrap_or(stderr.trim());
    said.rsplit_once("Error: ").map_or(said, |(_, said)| said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_stands_behind_the_place() {
        let said = "internal:0:0-0: Error: Could not process rule: Operation not supported\n\n";
        assert_eq!(reason(said), "Could not process rule: Operation not supported");
        assert_eq!(reason("killed\n"), "killed");
    }
}
