//! Fleets: several processes of the binary that share one real store, with emulated providers that
//! count, and everything in between that can break.
//!
//! - `cargo test --test fleet` runs everything, shortened.
//! - `DAYPASS_FLEET_SECONDS=300 cargo test --test fleet soak -- --nocapture` troubles fleets for so
//!   long; `DAYPASS_FLEET_SEED=7` draws other troubles. The judge's rules are in [`judge`].
//! - `DAYPASS_LONG_TESTS=1 cargo test --test fleet outages -- --nocapture` has outages of ten minutes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly and show its logs, its tasks are its own, and its settings come from the environment"
)]

mod chronicle;
#[path = "../postgres_trouble/control.rs"]
#[expect(dead_code, reason = "what others do to a server")]
mod control;
#[path = "../simulation/dice.rs"]
#[expect(dead_code, reason = "what others draw")]
mod dice;
mod eyewitness;
mod fleet;
mod ground;
mod judge;
mod keeper;
mod place;
mod plan;
#[path = "../store_contract/postgres_server.rs"]
#[expect(dead_code, reason = "what others need of a server")]
mod postgres_server;
#[path = "../servers/redis.rs"]
#[expect(dead_code, reason = "what others need of a server")]
mod redis_server;
mod strikes;
mod way;

mod outages;
mod pausing;
mod soak;
mod waiting;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
