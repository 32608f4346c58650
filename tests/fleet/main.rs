//! Fleets: several processes of the binary that share one real store, with emulated providers that
//! count, and everything in between that can break.
//!
//! - `cargo test --test fleet` runs everything, shortened.
//! - `DAYPASS_LONG_TESTS=1 cargo test --test fleet soak` troubles fleets for five minutes each, and
//!   writes `docs/reports/fleet.md`. `DAYPASS_FLEET_SECONDS=60` says for how long instead,
//!   `DAYPASS_FLEET_SEED=7` draws other troubles. The judge's rules are in [`judge`].
//! - `DAYPASS_LONG_TESTS=1 cargo test --test fleet outages` has outages of ten minutes, and writes
//!   `docs/reports/outages.md`.

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
mod report;
mod strikes;
mod way;

mod outages;
mod pausing;
mod soak;
mod teeth;
mod waiting;

/// Does the same on each of these stores, at the same time, each on a thread of its own that is named
/// after its store. Most of what happens is waiting.
fn on_each<F: Future<Output = ()>>(
    stores: &[keeper::Backend],
    work: impl Fn(keeper::Backend) -> F + Sync,
) {
    std::thread::scope(|scope| {
        let started: Vec<_> = stores
            .iter()
            .map(|&store| {
                let work = &work;
                let thread = std::thread::Builder::new().name(format!("{store:?}"));
                let run = move || {
                    let mut runtime = tokio::runtime::Builder::new_multi_thread();
                    runtime.worker_threads(2).enable_all();
                    runtime.build().unwrap().block_on(work(store));
                };
                (store, thread.spawn_scoped(scope, run).unwrap())
            })
            .collect();
        let failed: Vec<_> = started
            .into_iter()
            .filter_map(|(store, thread)| thread.join().is_err().then_some(store))
            .collect();
        assert!(failed.is_empty(), "failed on {failed:?}");
    });
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
