//! The `daypass` binary as its users meet it: what it prints, how it exits, what it leaves on disk.
//!
//! Every test has a directory of its own as working directory, and an environment with nothing in it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and its threads are its own"
)]

mod binary;
mod emulators;

mod admin;
mod audit;
mod checking;
mod connections;
mod demo;
mod importing;
mod running;
