//! The API for operators, and their page: a whole sidecar in this process, the emulated providers, an app that takes
//! deliveries, and every call over a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and its servers are tasks of its own"
)]

mod app;
#[path = "../servers/sandbox.rs"]
mod sandbox;
mod specification;
mod visitor;
mod world;

mod audit;
mod conformance;
mod connections;
mod deliveries;
mod described;
mod documents;
mod imports;
mod links;
mod managed_users;
mod meetings;
mod secrets;
mod status;
mod strangers;
mod token;
