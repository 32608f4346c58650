//! What a token costs that is not in memory: sealing and opening, reading and writing the store.
//!
//! `cargo bench --bench at_rest`. A commit waits for the disk; its figure is the disk's.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::hint::black_box;

use criterion::Criterion;
use daypass::{
    base::{ids::GrantId, random::OsRandom, secret::Secret},
    store::{
        Committed, Fence, Redemption, Renewed,
        seal::{Aad, Field, Key, KeyRing},
    },
};

use crate::support::{Bed, TOKEN};

mod support;

fn sealing(c: &mut Criterion, bed: &Bed) {
    let key = Key::new("k1", &Secret::new([7; 32])).unwrap();
    let ring = KeyRing::new("k1", vec![key]).unwrap();
    let aad = Aad::new(&bed.key, Field::AccessToken);
    let plain = Secret::from(TOKEN.to_owned());
    c.bench_function("seal", |b| {
        b.iter(|| ring.seal(&OsRandom, &aad, black_box(&plain)));
    });
    let sealed = ring.seal(&OsRandom, &aad, &plain);
    c.bench_function("open", |b| {
        b.iter(|| ring.open(&aad, black_box(&sealed)).unwrap());
    });
}

fn store(c: &mut Criterion, bed: &Bed) {
    let store = &bed.sidecar.core().store;
    let load = || async { store.load(&bed.key).await.unwrap().unwrap() };
    c.bench_function("sqlite load", |b| {
        b.iter(|| bed.runtime.block_on(load()));
    });
    let mut stored = bed.runtime.block_on(load());
    let renewed = Renewed {
        grant: GrantId::random(&OsRandom),
        tokens: stored.tokens.clone().unwrap(),
        redemption: Redemption::Standard,
        scope: None,
        external_id: None,
        organization: None,
    };
    c.bench_function("sqlite commit", |b| {
        b.iter(|| {
            let fence = Fence::of(&stored);
            let committed = store.commit(&fence, renewed.clone());
            match bed.runtime.block_on(committed).unwrap() {
                Committed::Stored(connection) => stored = *connection,
                Committed::Superseded(_) | Committed::Gone => panic!("somebody else writes"),
            }
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bed = Bed::new();
    sealing(&mut criterion, &bed);
    store(&mut criterion, &bed);
    criterion.final_summary();
}
