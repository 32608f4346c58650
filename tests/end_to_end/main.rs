//! The real binary as a process of its own: a configuration file, a database in a temporary folder,
//! the emulated providers, and real sockets between them.
//!
//! Every test opens a [`world::World`]. When it is dropped, it holds what must hold in any run: no
//! request reached a provider without a bearer, and nothing panicked.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::format_push_string,
    clippy::print_stderr,
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly and show its logs, callers are tasks of the test itself, and a flow is told from top to bottom"
)]

#[cfg(test)]
#[path = "../webhooks/app.rs"]
#[expect(dead_code, reason = "other tests ask more of the app")]
mod app;
#[path = "../store_contract/postgres_server.rs"]
#[expect(dead_code, reason = "other tests do more to their servers")]
mod postgres_server;
#[path = "../servers/redis.rs"]
#[expect(dead_code, reason = "other tests do more to their servers")]
mod redis_server;

mod arrivals;
mod balancer;
mod collector;
mod front;
mod manager;
mod sidecar;
mod stage;
mod stores;
mod world;

mod bodies;
mod crashes;
mod database;
mod draining;
mod leaks;
mod policy;
mod provider_trouble;
mod readiness;
mod recovery;
mod reloading;
mod rolling;
mod sharing;
mod siblings;
mod slow;
mod steps;
mod story;
mod supervised;
mod tls;
mod tracing;
mod units;
