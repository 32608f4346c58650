//! Records that end by themselves.

use std::time::Duration;

use daypass::store::{Digest, Everything, Purpose, seal::Sealed};
use futures_util::future::join_all;

use crate::bench::Bench;

type Whole = Bench<dyn Everything>;

const MINUTE: Duration = Duration::from_mins(1);

const ALL: [Purpose; 4] = [
    Purpose::Ticket,
    Purpose::Consent,
    Purpose::Route,
    Purpose::IssuedToken,
];

fn digest(first: u8) -> Digest {
    let mut bytes = [7; 32];
    bytes[0] = first;
    Digest(bytes)
}

/// A store looks at no seal, so this is none.
fn record(name: &str) -> Sealed {
    Sealed::from_bytes(name.as_bytes().to_vec())
}

async fn put(bench: &Whole, digest: Digest, name: &str, ttl: Option<Duration>) {
    let put = bench
        .store
        .put(Purpose::Consent, &digest, record(name), ttl)
        .await;
    put.unwrap();
}

async fn peek(bench: &Whole, digest: Digest) -> Option<Sealed> {
    let found = bench.other.peek(Purpose::Consent, &digest).await;
    found.unwrap()
}

async fn take(bench: &Whole, digest: Digest) -> Option<Sealed> {
    let found = bench.other.take(Purpose::Consent, &digest).await;
    found.unwrap()
}

pub(crate) async fn a_record_is_found_by_its_digest_as_often_as_it_is_read(bench: &Whole) {
    put(bench, digest(1), "one", Some(MINUTE)).await;
    put(bench, digest(2), "two", Some(MINUTE)).await;
    for _ in 0..3 {
        assert_eq!(peek(bench, digest(1)).await, Some(record("one")));
        assert_eq!(peek(bench, digest(2)).await, Some(record("two")));
    }
    assert_eq!(peek(bench, digest(3)).await, None);
    assert_eq!(take(bench, digest(3)).await, None);
}

pub(crate) async fn a_record_of_any_bytes_reads_back_as_it_was(bench: &Whole) {
    let all: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for (n, bytes) in [(1, all), (2, Vec::new())] {
        let sealed = Sealed::from_bytes(bytes);
        let put = bench
            .store
            .put(Purpose::Consent, &digest(n), sealed.clone(), None)
            .await;
        put.unwrap();
        assert_eq!(peek(bench, digest(n)).await, Some(sealed.clone()));
        assert_eq!(take(bench, digest(n)).await, Some(sealed));
    }
}

pub(crate) async fn purposes_do_not_find_each_others_records(bench: &Whole) {
    for purpose in ALL {
        let name = record(purpose.as_str());
        let put = bench
            .store
            .put(purpose, &digest(1), name, Some(MINUTE))
            .await;
        put.unwrap();
    }
    assert!(take(bench, digest(1)).await.is_some());
    for purpose in ALL {
        let found = bench.other.peek(purpose, &digest(1)).await.unwrap();
        let expected = (purpose != Purpose::Consent).then(|| record(purpose.as_str()));
        assert_eq!(found, expected, "{purpose:?}");
    }
}

pub(crate) async fn a_record_that_was_taken_is_gone(bench: &Whole) {
    put(bench, digest(1), "one", Some(MINUTE)).await;
    assert_eq!(take(bench, digest(1)).await, Some(record("one")));
    assert_eq!(take(bench, digest(1)).await, None);
    assert_eq!(peek(bench, digest(1)).await, None);
}

pub(crate) async fn of_many_who_take_one_record_one_gets_it(bench: &Whole) {
    for round in 0..10 {
        put(bench, digest(round), "one", Some(MINUTE)).await;
        let taken = join_all((0..20).map(async |n| {
            let store = if n % 2 == 0 {
                &bench.store
            } else {
                &bench.other
            };
            store.take(Purpose::Consent, &digest(round)).await.unwrap()
        }))
        .await;
        let got: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(got, [record("one")]);
    }
}

pub(crate) async fn a_record_that_has_ended_is_not_there(bench: &Whole) {
    put(bench, digest(1), "read", Some(MINUTE)).await;
    put(bench, digest(2), "taken", Some(MINUTE)).await;
    bench
        .clock
        .advance(MINUTE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(peek(bench, digest(1)).await, Some(record("read")));
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(peek(bench, digest(1)).await, None);
    assert_eq!(take(bench, digest(2)).await, None);
    bench.clock.advance(MINUTE);
    assert_eq!(peek(bench, digest(1)).await, None);
}

pub(crate) async fn a_record_without_an_end_stays_until_it_is_taken(bench: &Whole) {
    put(bench, digest(1), "one", None).await;
    put(bench, digest(2), "two", Some(Duration::MAX)).await;
    bench.clock.advance(Duration::from_hours(24 * 3650));
    bench.store.sweep(100).await.unwrap();
    assert_eq!(peek(bench, digest(1)).await, Some(record("one")));
    assert_eq!(take(bench, digest(1)).await, Some(record("one")));
    assert_eq!(take(bench, digest(2)).await, Some(record("two")));
}

pub(crate) async fn what_is_put_again_has_another_content_and_another_end(bench: &Whole) {
    put(bench, digest(1), "first", Some(MINUTE)).await;
    put(bench, digest(1), "second", Some(MINUTE * 3)).await;
    bench.clock.advance(MINUTE * 2);
    assert_eq!(peek(bench, digest(1)).await, Some(record("second")));
    put(bench, digest(1), "third", None).await;
    bench.clock.advance(MINUTE * 9);
    assert_eq!(peek(bench, digest(1)).await, Some(record("third")));
    put(bench, digest(1), "fourth", Some(MINUTE)).await;
    bench.clock.advance(MINUTE);
    assert_eq!(peek(bench, digest(1)).await, None);
    put(bench, digest(1), "fifth", Some(MINUTE)).await;
    assert_eq!(take(bench, digest(1)).await, Some(record("fifth")));
}

pub(crate) async fn sweeping_forgets_what_has_ended_and_nothing_else(bench: &Whole) {
    for n in 0..5 {
        put(bench, digest(n), "ends", Some(MINUTE)).await;
    }
    put(bench, digest(5), "lasts", Some(MINUTE * 2)).await;
    put(bench, digest(6), "stays", None).await;
    assert_eq!(bench.store.sweep(100).await.unwrap(), 0);
    bench.clock.advance(MINUTE);
    let swept = [
        bench.store.sweep(3).await.unwrap(),
        bench.other.sweep(3).await.unwrap(),
        bench.store.sweep(3).await.unwrap(),
    ];
    // None, where the store forgets by itself.
    assert!([[3, 2, 0], [0, 0, 0]].contains(&swept), "{swept:?}");
    assert_eq!(peek(bench, digest(0)).await, None);
    assert_eq!(peek(bench, digest(5)).await, Some(record("lasts")));
    assert_eq!(peek(bench, digest(6)).await, Some(record("stays")));
}
