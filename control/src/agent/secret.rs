//! Secrets: drawn from the system, and the mark's drawn anew every second.
//!
//! A pod that may load programs can set a mark and redirect past the place where it is cleared.
//! What it guesses wrong is dropped and counted (`forged-mark`); what it might guess right is out of
//! date before the answer tells it so.

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
