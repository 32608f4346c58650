//! The rules of renewing, on the real engine with a store in memory, a scripted provider, and time
//! that stands still until a test moves it. Every test drives one or more sidecars on one store.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and callers are tasks of the test itself"
)]

#[expect(
    dead_code,
    reason = "tests/simulation uses the same store, and more of it"
)]
mod memory_store;
mod scripted_provider;
mod world;

mod account_gone;
mod background;
mod crash_and_spool;
mod failures;
mod going_back;
mod keeping_alive;
mod looking;
mod refused_tokens;
mod replacing;
mod sharing;
mod siblings;
mod storms;
