//! Connecting users: the real room behind the real ingress listener, the emulated providers and their
//! consent pages, and a browser between. Only the store is in memory, so that it can fail when a test
//! says so; `tests/end_to_end` goes the same way with real ones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and browsers are tasks of the test itself"
)]

mod browser;
mod kept;
#[expect(
    dead_code,
    reason = "tests/renewing and tests/simulation use more of it"
)]
#[path = "../renewing/memory_store.rs"]
mod memory_store;
#[expect(dead_code, reason = "other tests import what is created")]
#[path = "../servers/sandbox.rs"]
mod sandbox;
mod world;

mod arriving;
mod atoms;
mod disconnecting;
mod ingress;
mod links;
mod managed;
mod trouble;
