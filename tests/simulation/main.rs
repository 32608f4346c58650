//! The protocol of renewing under every fault there is: the real engine, many sidecars, and a store,
//! a provider, a network and clocks that do what a seed says. `docs/refresh-protocol.md` has the
//! protocol and the invariants that are held here.
//!
//! - `cargo test --test simulation` runs many seeds.
//! - `DAYPASS_SIM_SEED=7 cargo test --test simulation one_seed` repeats one, step by step.
//! - `DAYPASS_SIM_WITHOUT=UnfencedMarks` beside it takes a protection out.
//! - `DAYPASS_SIM_SEEDS=100000` runs that many; `DAYPASS_LONG_TESTS=1` a million.
//!
//! Beside it, [`exhaustive`] looks at every state of a model of the bare protocol.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, its tasks are its own, and its settings come from the environment"
)]

mod dice;
mod exhaustive;
mod ledger;
#[path = "../renewing/memory_store.rs"]
mod memory_store;
#[path = "../../src/token/model/mod.rs"]
mod model;
mod mutant;
mod network;
mod plan;
mod provider;
mod schedule;
mod world;

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use parking_lot::Mutex;

use crate::{
    ledger::Counts,
    mutant::{Mutant, PROTECTIONS},
    schedule::{Report, run},
};

/// Those of `docs/refresh-protocol.md`, all of which are held here.
const INVARIANTS: usize = 8;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> u64 {
    let long = std::env::var("DAYPASS_LONG_TESTS").is_ok();
    setting("DAYPASS_SIM_SEEDS").unwrap_or(if long { 1_000_000 } else { 10_000 })
}

/// Says it even if the test passes.
fn say(text: &str) {
    let mut out = std::io::stderr();
    writeln!(out, "{text}").unwrap();
}

/// Runs the seeds below `end` on every core: what was counted, and the first that failed.
fn sweep(end: u64, mutant: Option<Mutant>) -> (Counts, Option<Report>) {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None::<Report>));
    let total = Mutex::new(Counts::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            let beaten = failed
                .lock()
                .as_ref()
                .is_some_and(|failed| failed.seed < seed);
            if seed >= end || beaten {
                return;
            }
            let report = run(seed, mutant, false);
            let mut total = total.lock();
            total.add("seeds", 1);
            total.add("steps", report.steps);
            for (what, n) in &report.counts.0 {
                if what.starts_with("most") {
                    total.max(what, *n);
                } else {
                    total.add(what, *n);
                }
            }
            let mut failed = failed.lock();
            let first = failed
                .as_ref()
                .is_none_or(|failed| report.seed < failed.seed);
            if report.violation.is_some() && first {
                *failed = Some(report);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    (total.into_inner(), failed.into_inner())
}

#[test]
fn no_schedule_breaks_an_invariant() {
    let (counts, failed) = sweep(seeds(), None);
    let counted: Vec<_> = counts
        .0
        .iter()
        .map(|(what, n)| format!("{what}: {n}"))
        .collect();
    say(&format!(
        "simulation: {INVARIANTS} invariants, {}",
        counted.join(", ")
    ));
    if let Some(failed) = failed {
        let (seed, what) = (failed.seed, failed.violation.unwrap());
        panic!(
            "seed {seed}: {what}\nDAYPASS_SIM_SEED={seed} cargo test --test simulation one_seed"
        );
    }
}

#[test]
fn one_seed_step_by_step() {
    let Some(seed) = setting("DAYPASS_SIM_SEED") else {
        return;
    };
    let mutant = std::env::var("DAYPASS_SIM_WITHOUT").ok();
    let mutant = PROTECTIONS
        .into_iter()
        .chain([
            Mutant::NoNotifications,
            Mutant::Nothing,
            Mutant::UnnamedGrants,
            Mutant::NothingOnTheWayBack,
        ])
        .find(|gone| mutant.as_ref() == Some(&format!("{gone:?}")));
    let report = run(seed, mutant, true);
    say(&report.lines.join("\n"));
    assert_eq!(report.violation, None, "seed {seed}");
}

#[test]
fn a_seed_repeats_its_schedule_exactly() {
    for seed in 0..40 {
        let (first, second) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(
            (first.hash, first.steps),
            (second.hash, second.steps),
            "seed {seed}"
        );
    }
}

#[test]
fn every_protection_is_missed_when_it_is_gone() {
    const ENOUGH: u64 = 3000;
    let mut unnoticed = Vec::new();
    for mutant in PROTECTIONS {
        let Some(failed) = sweep(ENOUGH, Some(mutant)).1 else {
            unnoticed.push(mutant);
            continue;
        };
        let (seed, what) = (failed.seed, failed.violation.unwrap());
        say(&format!(
            "simulation: without {mutant:?}, seed {seed} fails: {what}"
        ));
        let whole = run(seed, Some(Mutant::Nothing), false);
        assert_eq!(whole.violation, None, "seed {seed} fails in any case");
    }
    assert_eq!(unnoticed, []);
}

#[test]
fn lost_notifications_break_nothing() {
    let failed = sweep(300, Some(Mutant::NoNotifications)).1;
    let what = failed.map(|failed| (failed.seed, failed.violation));
    assert_eq!(what, None);
}

#[test]
fn a_store_that_goes_back_costs_nobody_who_connected_again_the_grant() {
    const ENOUGH: u64 = 100;
    let failed = sweep(ENOUGH, Some(Mutant::NothingOnTheWayBack)).1;
    let what = failed.map(|failed| (failed.seed, failed.violation));
    assert_eq!(what, None);
    let failed = sweep(ENOUGH, Some(Mutant::UnnamedGrants)).1;
    let failed = failed.expect("it is missed when fences name no grant");
    let (seed, what) = (failed.seed, failed.violation.unwrap());
    say(&format!(
        "simulation: without names of grants, seed {seed} fails: {what}"
    ));
}
