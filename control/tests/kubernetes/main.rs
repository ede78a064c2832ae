//! Objects from an API server that behaves as a real one cannot be made to.

mod access;
mod disk;
mod events;
mod fixture;
mod judged;
mod outages;
mod watches;
