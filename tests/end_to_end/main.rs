//! The real binary as a process of its own: a configuration file, a database in a temporary folder,
//! the emulated providers, and real sockets between them.
//!
//! Every test opens a [`world::World`]. When it is dropped, it holds what must hold in any run: no
//! request reached a provider without a bearer, and nothing panicked.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and callers are tasks of the test itself"
)]

mod sidecar;
mod world;

mod bodies;
mod crashes;
mod database;
mod draining;
mod leaks;
mod provider_trouble;
mod recovery;
mod sharing;
mod siblings;
mod tls;
