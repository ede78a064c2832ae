//! Secrets: drawn from the system, and the mark's drawn anew every second.
//!
//! A pod that may load programs can set a mark and redirect past the place where it is cleared.
//! What it guesses wrong is dropped and counted (`forged-mark`); what it might guess right is out of
//! date before the answer tells it so.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use podgate_dataplane::steer::SteerError;
use podgate_flowtable::HashSecret;

use super::gateway::Gateway;
use super::start::StartError;
use super::{PreflightError, preflight};
use crate::net::MarkRule;

/// Random bytes.
pub(super) fn draw<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StartError::Random(error.to_string()))?;
    Ok(bytes)
}

/// A key for a hash.
pub(super) fn draw_secret() -> Result<HashSecret, StartError> {
    Ok(HashSecret([u64::from_ne_bytes(draw()?), u64::from_ne_bytes(draw()?)]))
}

/// The key by which connections get their backends, as the gateway before had it: what it has left behind without
/// its flows, as a crash does, is sent to the same backends again. Where it cannot be kept, that does not hold.
pub(super) fn service_seed(path: &Path) -> Result<u64, StartError> {
    if let Ok(kept) = std::fs::read(path).map(<[u8; 8]>::try_from)
        && let Ok(seed) = kept
    {
        return Ok(u64::from_ne_bytes(seed));
    }
    let drawn = draw()?;
    let aside = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let kept = file.and_then(|mut file| file.write_all(&drawn)).and_then(|()| std::fs::rename(&aside, path));
    if let Err(error) = kept {
        tracing::warn!("{}: connections to Services may break with the next crash: {error}", path.display());
    }
    Ok(u64::from_ne_bytes(drawn))
}

/// A mark that no routing rule looks for.
pub(super) fn draw_mark(rules: &[MarkRule]) -> Result<u32, StartError> {
    let mut failed = None;
    let mark = preflight::free_mark(rules, || match draw() {
        Ok(bytes) => u32::from_ne_bytes(bytes),
        Err(error) => {
            failed = Some(error);
            0
        }
    });
    match failed {
        Some(error) => Err(error),
        None => mark.map_err(PreflightError::into),
    }
}

impl Gateway {
    /// Puts another mark in force. Frames on their way carry the one before, which stays good until
    /// the next change. Where none can be drawn, the present one stays.
    pub(super) fn change_mark(&self) -> Result<(), SteerError> {
        let mut state = self.state();
        let Ok(mark) = draw_mark(&state.mark_rules) else { return Ok(()) };
        state.config.previous_mark = state.config.mark;
        state.config.mark = mark;
        let config = state.config;
        state.steering.configure(&config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_kept_and_one_that_is_cut_short_is_drawn_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.key");
        let seed = service_seed(&path).unwrap();
        assert_eq!(service_seed(&path).unwrap(), seed);
        std::fs::write(&path, b"short").unwrap();
        let other = service_seed(&path).unwrap();
        assert_ne!(other, seed);
        assert_eq!(service_seed(&path).unwrap(), other);
    }
}
