//! A gateway whose objects come from a real API server, on live frames.

mod account;
mod away;
mod deploy;
mod events;
mod scene;
mod services;
mod verdicts;
