//! Duties: one of all processes at a time, relieved when its time is over.

use std::time::Duration;

use daypass::{
    base::ids::ProviderName,
    store::{Duty, DutyKind, Turn},
};
use futures_util::future::join_all;

use crate::bench::{Bench, START, TTL, owner};

const SWEEP: DutyKind = DutyKind::new("sweep");
const SECOND: Duration = Duration::from_secs(1);

/// A second short of a turn.
const NEARLY: Duration = Duration::from_secs(29);

fn sweep() -> Duty {
    Duty::at(SWEEP, &ProviderName::parse("calcom").unwrap())
}

pub(crate) async fn only_one_of_many_gets_the_duty(bench: &Bench) {
    for round in 0..10_u8 {
        let name = ProviderName::parse(&format!("p{}", round / 2)).unwrap();
        let duty = Duty::at(SWEEP, &name);
        let asked = (0..20).map(async |n| {
            let store = [&bench.store, &bench.other][n % 2];
            let me = owner();
            (me, store.take_duty(&duty, me, TTL).await.unwrap())
        });
        let answers = join_all(asked).await;
        let winners: Vec<_> = answers
            .iter()
            .filter(|(_, turn)| *turn == Turn::Mine)
            .collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(bench.other.leave_duty(&duty, winners[0].0).await.unwrap());
    }
}

pub(crate) async fn who_has_the_duty_gets_it_again(bench: &Bench) {
    let me = owner();
    for _ in 0..3 {
        let turn = bench.store.take_duty(&sweep(), me, TTL).await.unwrap();
        assert_eq!(turn, Turn::Mine);
        bench.clock.advance(NEARLY);
    }
    let turn = bench.other.take_duty(&sweep(), owner(), TTL).await.unwrap();
    assert_eq!(turn, Turn::Anothers(SECOND));
}

pub(crate) async fn a_duty_is_free_when_its_time_is_over(bench: &Bench) {
    let (dead, next) = (owner(), owner());
    bench.store.take_duty(&sweep(), dead, TTL).await.unwrap();
    bench.clock.advance(NEARLY);
    let turn = bench.other.take_duty(&sweep(), next, TTL).await.unwrap();
    assert_eq!(turn, Turn::Anothers(SECOND));
    bench.clock.advance(SECOND);
    let turn = bench.other.take_duty(&sweep(), next, TTL).await.unwrap();
    assert_eq!(turn, Turn::Mine);
    assert!(!bench.store.leave_duty(&sweep(), dead).await.unwrap());
    let turn = bench.store.take_duty(&sweep(), dead, TTL).await.unwrap();
    assert_eq!(turn, Turn::Anothers(TTL));
}

pub(crate) async fn a_duty_given_back_is_free_at_once(bench: &Bench) {
    let (me, next) = (owner(), owner());
    bench.store.take_duty(&sweep(), me, TTL).await.unwrap();
    assert!(!bench.store.leave_duty(&sweep(), next).await.unwrap());
    assert!(bench.store.leave_duty(&sweep(), me).await.unwrap());
    assert!(!bench.store.leave_duty(&sweep(), me).await.unwrap());
    let turn = bench.other.take_duty(&sweep(), next, TTL).await.unwrap();
    assert_eq!(turn, Turn::Mine);
}

pub(crate) async fn duties_of_different_names_are_independent(bench: &Bench) {
    let (one, other) = (owner(), owner());
    bench.store.take_duty(&sweep(), one, TTL).await.unwrap();
    let all = Duty::of(SWEEP);
    let turn = bench.store.take_duty(&all, other, TTL).await.unwrap();
    assert_eq!(turn, Turn::Mine);
    assert!(!bench.store.leave_duty(&all, one).await.unwrap());
}

pub(crate) async fn a_clock_that_was_set_back_leaves_no_duty_undone(bench: &Bench) {
    bench.clock.advance(Duration::from_hours(1000));
    bench.store.take_duty(&sweep(), owner(), TTL).await.unwrap();
    bench.clock.set(START);
    let turn = bench.other.take_duty(&sweep(), owner(), TTL).await.unwrap();
    assert!(
        matches!(turn, Turn::Anothers(left) if left <= TTL),
        "{turn:?}"
    );
    bench.clock.set(START.saturating_add(TTL));
    let turn = bench.other.take_duty(&sweep(), owner(), TTL).await.unwrap();
    assert_eq!(turn, Turn::Mine);
}
