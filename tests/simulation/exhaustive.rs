//! Every state of the bare protocol, as modelled in `src/token/model`.
//!
//! - `cargo test --test simulation exhaustive` looks at all of them, and prints how many there are.
//! - `DAYPASS_LONG_TESTS=1` goes farther.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    model::{LAWS, PROTECTIONS, Protection, Scope, explore, seen},
    say,
};

/// Renewals, and everything that may go wrong with them.
const RENEWING: Scope = Scope {
    name: "renewing",
    pairs: 3,
    faults: 2,
    connects: 0,
    disconnects: 0,
    memory: false,
    flights: 0,
};

/// Users who connect again and disconnect meanwhile.
const USERS: Scope = Scope {
    name: "users",
    pairs: 3,
    faults: 1,
    connects: 1,
    disconnects: 1,
    memory: false,
    flights: 0,
};

/// What the sidecars have in memory, and the news that keeps it right.
const MEMORY: Scope = Scope {
    name: "memory",
    pairs: 2,
    faults: 1,
    connects: 0,
    disconnects: 1,
    memory: true,
    flights: 2,
};

/// What each step is in the code.
const STEPS: [(&str, &str, &str); 13] = [
    ("load", "src/store/mod.rs", "async fn load("),
    ("acquire", "src/store/mod.rs", "async fn acquire("),
    ("begin", "src/store/mod.rs", "async fn begin("),
    ("commit", "src/store/mod.rs", "async fn commit("),
    ("fail", "src/store/mod.rs", "async fn fail("),
    ("mark", "src/store/mod.rs", "async fn mark_needs_reauth("),
    ("release", "src/store/mod.rs", "async fn release("),
    ("consider", "src/token/renewal/mod.rs", "fn consider("),
    ("redeem", "src/token/renewal/mod.rs", "async fn call("),
    ("adopt", "src/token/engine.rs", "fn adopt("),
    ("spool", "src/token/engine.rs", "async fn spool_renewal("),
    ("unspool", "src/token/engine.rs", "async fn unspool("),
    ("hear of a change", "src/token/follow.rs", "entry.tell()"),
];

/// What happens, and is no step of ours.
const WORLD: [&str; 14] = [
    "read what has changed",
    "a lease without an owner runs out",
    "dies",
    "dies, and its machine with it",
    "dies, and its request lives on",
    "it stands still before the call",
    "the lease runs out",
    "the provider gets a late request",
    "the provider's answer is lost",
    "the store does a late commit",
    "the store does a late mark",
    "the user connects",
    "the user disconnects",
    "the user revokes the app",
];

fn is_long() -> bool {
    std::env::var("DAYPASS_LONG_TESTS").is_ok()
}

/// Looks at everything within `scope`: what was seen, and what the steps are called.
fn holds(scope: &Scope) -> (u32, BTreeSet<&'static str>) {
    let found = explore(scope, None);
    let Scope {
        name,
        pairs,
        faults,
        connects,
        disconnects,
        ..
    } = scope;
    say(&format!(
        "model: {name} (3 sidecars, {pairs} pairs, {faults} faults, {connects} connects, \
         {disconnects} disconnects): {} states, {} steps, at most {} from the first, {} invariants",
        found.states,
        found.steps,
        found.depth,
        LAWS.len(),
    ));
    let broken = found.broken.map(|(law, way)| format!("{law}:{way}"));
    assert!(broken.is_none(), "{}", broken.unwrap_or_default());
    (found.seen, found.names)
}

#[test]
fn no_state_of_renewing_breaks_an_invariant() {
    let faults = if is_long() { 3 } else { 2 };
    let (seen, _) = holds(&Scope { faults, ..RENEWING });
    for (what, words) in seen::ALL {
        let needs_a_disconnect = what == seen::ORPHANED;
        assert!(
            seen & what != 0 || needs_a_disconnect,
            "{words} is never reached"
        );
    }
}

#[test]
fn no_state_with_users_breaks_an_invariant() {
    let faults = if is_long() { 2 } else { 1 };
    let (seen, _) = holds(&Scope { faults, ..USERS });
    assert!(seen & seen::ORPHANED != 0, "nothing is ever orphaned");
    assert!(seen & seen::SUPERSEDED != 0, "nothing is ever superseded");
}

#[test]
fn no_state_of_memory_breaks_an_invariant() {
    let flights = if is_long() { 3 } else { 2 };
    let (seen, _) = holds(&Scope { flights, ..MEMORY });
    assert!(seen & seen::ADOPTED != 0, "nothing is ever adopted");
}

#[test]
fn every_protection_of_the_model_is_missed_when_it_is_gone() {
    let mut unnoticed = Vec::new();
    for protection in PROTECTIONS {
        let scope = match protection {
            Protection::LateIntents => RENEWING,
            Protection::News => MEMORY,
            _ => USERS,
        };
        let Some((law, way)) = explore(&scope, Some(protection)).broken else {
            unnoticed.push(protection);
            continue;
        };
        assert!(LAWS.contains(&law), "{law}");
        let steps = way.lines().count() - 1;
        say(&format!(
            "model: without {protection:?}, {steps} steps of {} break {law}",
            scope.name
        ));
    }
    assert_eq!(unnoticed, []);
}

#[test]
fn every_step_of_the_model_is_one_of_the_code_or_of_the_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (step, file, code) in STEPS {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(code), "{step}: {file} has no {code}");
    }
    let small = Scope {
        pairs: 2,
        faults: 1,
        connects: 1,
        flights: 1,
        ..MEMORY
    };
    let mut names = explore(&small, None).names;
    names.extend(explore(&Scope { pairs: 2, ..USERS }, None).names);
    for name in names {
        let word = name.split([':', ',']).next().unwrap();
        let is_ours = STEPS.iter().any(|(step, _, _)| *step == word);
        assert!(is_ours || WORLD.contains(&name), "{name} is no step");
    }
}
