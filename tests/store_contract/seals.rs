//! Everything sealed: all of it is met, and what is put in its place never takes that of something newer.

use std::{collections::BTreeMap, time::Duration};

use daypass::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, EventId, ProviderName},
        random::SeededRandom,
        secret::Secret,
    },
    store::{
        Bookmark, Committed, Connection, Digest, Drawer, Everything, Existing, JobKind, NewEvent,
        Purpose, Renewed, Row, SealedRow, SealedTokens, StoredMeeting, Swap,
        rotation::{Rotation, Turned},
        seal::{Binding, Field, HEAD_LEN, Key, KeyRing, Sealed, key_id_of},
    },
};

use crate::bench::{Bench, START, calendly, fence, fresh, key, new, owner, renewed};

type Whole = Bench<dyn Everything>;

/// The old key, and the old with the new one, of which the new one is active.
fn rings() -> (KeyRing, KeyRing) {
    let key = |id: &str, byte| Key::new(id, &Secret::new([byte; 32])).unwrap();
    let old = KeyRing::new("old", vec![key("old", 1)]).unwrap();
    let both = KeyRing::new("new-2", vec![key("old", 1), key("new-2", 2)]).unwrap();
    (old, both)
}

fn seal(ring: &KeyRing, binding: &Binding, text: &str) -> Sealed {
    ring.seal_bytes(&fresh(), &binding.aad(), text.as_bytes())
}

fn open(ring: &KeyRing, binding: &Binding, sealed: &Sealed) -> String {
    let plain = ring.open_bytes(&binding.aad(), sealed).unwrap();
    String::from_utf8(plain.to_vec()).unwrap()
}

fn tokens(ring: &KeyRing, key: &ConnectionKey, name: &str) -> SealedTokens {
    let seal = |field| {
        seal(
            ring,
            &Binding::token(key, field),
            &format!("{name} of {key}"),
        )
    };
    SealedTokens {
        access: seal(Field::AccessToken),
        refresh: Some(seal(Field::RefreshToken)),
        ..crate::bench::tokens(name)
    }
}

async fn read(bench: &Whole, key: &ConnectionKey) -> Connection {
    bench.other.load(key).await.unwrap().unwrap()
}

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

/// A payload that is long beside its head.
fn long(n: u8) -> String {
    format!("event {n} ").repeat(200)
}

fn event(ring: &KeyRing, n: u8) -> NewEvent {
    let (provider, id) = (calendly("u").provider, event_id(n));
    NewEvent {
        id,
        payload: seal(ring, &Binding::event(&provider, id), &long(n)),
        provider,
        name: "invitee.created".to_owned(),
        dedupe: [n; 32],
        recipients: vec![calendly("anna"), calendly("ben")],
        accounts: Vec::new(),
        at: START,
    }
}

fn event_id(n: u8) -> EventId {
    EventId::random(&SeededRandom::new(u64::from(n)))
}

fn meeting(ring: &KeyRing, user: &str, n: u8) -> StoredMeeting {
    let (key, id) = (key("calcom", user), format!("uid of/{n}"));
    StoredMeeting {
        details: seal(ring, &Binding::meeting(&key, &id), &format!("meeting {n}")),
        key,
        external_id: id,
        status: "confirmed".to_owned(),
        is_over: false,
        starts_at: START,
        ends_at: START.saturating_add(Duration::from_hours(1)),
        version: START,
    }
}

/// Puts `count` rows of each kind into the store, sealed with `ring`.
async fn fill(bench: &Whole, ring: &KeyRing, count: u8) {
    let provider = calendly("u").provider;
    let mut batch = Vec::new();
    for n in 0..count {
        let user = calendly(&format!("user{n}"));
        let mut connection = new(&user, "");
        connection.tokens = Some(tokens(ring, &user, "first"));
        batch.push(connection);
        for purpose in Purpose::ALL {
            let binding = Binding::record(&provider, purpose, &digest(n));
            let sealed = seal(ring, &binding, &format!("{} {n}", purpose.as_str()));
            let ttl = (purpose != Purpose::Route).then_some(Duration::from_hours(1));
            let digest = digest(n);
            let put = bench.store.put(purpose, &digest, sealed, ttl);
            put.await.unwrap();
        }
        for kind in JobKind::ALL {
            let state = seal(
                ring,
                &Binding::job(&user),
                &format!("{} {n}", kind.as_str()),
            );
            let due = Duration::from_hours(1);
            let asked = bench
                .store
                .schedule(kind, &user, Some(state), due, Existing::Hasten);
            asked.await.unwrap();
        }
        bench.store.accept(event(ring, n)).await.unwrap();
        let meetings = vec![
            meeting(ring, &format!("user{n}"), n),
            meeting(ring, "anna", n),
        ];
        bench.store.upsert_meetings(meetings).await.unwrap();
    }
    bench.store.save(batch).await.unwrap();
    // What keeps nothing sealed.
    let mut bare = new(&calendly("bare"), "");
    bare.tokens = None;
    bench.store.save(vec![bare]).await.unwrap();
    let bare = calendly("bare");
    let idle = bench
        .store
        .schedule(JobKind::Sync, &bare, None, Duration::ZERO, Existing::Hasten);
    idle.await.unwrap();
}

/// All rows of `drawer`, by name, read some at a time; each is there once.
async fn rows(bench: &Whole, drawer: Drawer, spare: Option<&str>) -> BTreeMap<String, SealedRow> {
    let mut found = BTreeMap::new();
    let mut from: Option<Bookmark> = None;
    loop {
        let page = bench
            .other
            .sealed(drawer, from.as_ref(), 3, spare)
            .await
            .unwrap();
        assert_eq!(page.unreadable, [""; 0]);
        for row in page.rows {
            found.insert(format!("{:?}", row.row), row);
        }
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

fn rotation<'a>(
    bench: &'a Whole,
    keys: &'a KeyRing,
    random: &'a SeededRandom,
    providers: &'a [ProviderName],
) -> Rotation<'a> {
    Rotation {
        seals: &*bench.store,
        keys,
        random,
        providers,
    }
}

/// How many rows of each drawer [`fill`] makes for each of its count.
const EACH: [(Drawer, u64); 5] = [
    (Drawer::Connections, 1),
    (Drawer::Records, 4),
    (Drawer::Jobs, 2),
    (Drawer::Events, 1),
    (Drawer::Meetings, 2),
];

pub(crate) async fn all_that_is_sealed_is_met_and_nothing_else(bench: &Whole) {
    let (old, both) = rings();
    fill(bench, &old, 7).await;
    fill_with_other(bench, &both).await;
    for (drawer, each) in EACH {
        let heads = rows(bench, drawer, None).await;
        let whole = rows(bench, drawer, Some("new-2")).await;
        let others = u64::from(drawer == Drawer::Events);
        let count = usize::try_from(each * 7 + others).unwrap();
        assert_eq!(heads.len(), count, "{heads:?}");
        assert_eq!(
            heads.keys().collect::<Vec<_>>(),
            whole.keys().collect::<Vec<_>>()
        );
        for (name, row) in &heads {
            let seals = &whole.get(name).unwrap().seals;
            assert_eq!(row.row.drawer(), drawer);
            assert_eq!(row.seals.len(), seals.len());
            for (head, seal) in row.seals.iter().zip(seals) {
                let id = key_id_of(head.as_bytes()).unwrap();
                assert!(head.as_bytes().len() <= HEAD_LEN, "{name}");
                assert_eq!(id, key_id_of(seal.as_bytes()).unwrap());
                let is_head = seal.as_bytes().len() <= HEAD_LEN && id == "new-2";
                assert_eq!(is_head, id == "new-2", "what is spared is not read: {name}");
                if id == "old" {
                    assert!(seal.key_id().is_ok(), "{name} is whole");
                }
            }
        }
    }
    let tokens = rows(bench, Drawer::Connections, Some("new-2")).await;
    assert!(tokens.values().all(|row| row.seals.len() == 2));
}

async fn fill_with_other(bench: &Whole, ring: &KeyRing) {
    bench.store.accept(event(ring, 200)).await.unwrap();
}

pub(crate) async fn after_a_turn_everything_opens_with_the_new_key_alone(bench: &Whole) {
    let (old, both) = rings();
    fill(bench, &old, 5).await;
    let random = fresh();
    let providers = [calendly("u").provider, key("calcom", "u").provider];
    let rotation = rotation(bench, &both, &random, &providers);
    let before = rotation.count(|_| {}).await.unwrap();
    for (drawer, each) in EACH {
        assert_eq!(before.keys["old"][&drawer], each * 5, "{drawer:?}");
    }
    assert_eq!(before.rows_beside("new-2"), 50);
    let mut told = 0;
    let turned = rotation.turn(|rows| told += rows).await.unwrap();
    assert_eq!((turned.resealed, told), (50, 50));
    assert_eq!((turned.overtaken, turned.closed.len()), (0, 0));
    let after = rotation.count(|_| {}).await.unwrap();
    assert_eq!((after.rows("new-2"), after.rows_beside("new-2")), (50, 0));
    everything_opens(bench, &only_new(), 5).await;
    assert_eq!(rotation.turn(|_| {}).await.unwrap(), Turned::default());
}

fn only_new() -> KeyRing {
    let key = Key::new("new-2", &Secret::new([2; 32])).unwrap();
    KeyRing::new("new-2", vec![key]).unwrap()
}

/// By the ways in which it is read in production.
async fn everything_opens(bench: &Whole, ring: &KeyRing, count: u8) {
    let provider = calendly("u").provider;
    for n in 0..count {
        let user = calendly(&format!("user{n}"));
        let stored = bench.other.load(&user).await.unwrap().unwrap();
        let kept = stored.tokens.unwrap();
        let text = format!("first of {user}");
        let access = Binding::token(&user, Field::AccessToken);
        let refresh = Binding::token(&user, Field::RefreshToken);
        assert_eq!(open(ring, &access, &kept.access), text);
        assert_eq!(open(ring, &refresh, &kept.refresh.unwrap()), text);
        assert_eq!(stored.generation.get(), 1);
        assert_eq!(stored.updated_at, START);
        for purpose in Purpose::ALL {
            let sealed = bench
                .other
                .peek(purpose, &digest(n))
                .await
                .unwrap()
                .unwrap();
            let binding = Binding::record(&provider, purpose, &digest(n));
            assert_eq!(
                open(ring, &binding, &sealed),
                format!("{} {n}", purpose.as_str())
            );
        }
        for kind in JobKind::ALL {
            let job = bench.other.job(kind, &user).await.unwrap().unwrap();
            let text = open(ring, &Binding::job(&user), &job.state.unwrap());
            assert_eq!(text, format!("{} {n}", kind.as_str()));
        }
        for user in [format!("user{n}"), "anna".to_owned()] {
            let (key, id) = (key("calcom", &user), format!("uid of/{n}"));
            let meeting = bench.other.meeting(&key, &id).await.unwrap().unwrap();
            let text = open(ring, &Binding::meeting(&key, &id), &meeting.details);
            assert_eq!(text, format!("meeting {n}"));
        }
    }
    let claimed = bench.store.claim_lines(owner(), Duration::from_mins(1), 9);
    let claimed = claimed.await.unwrap();
    assert_eq!(claimed.len(), 2, "anna's line and ben's");
    for one in claimed {
        let binding = Binding::event(&provider, one.delivery.event);
        assert_eq!(open(ring, &binding, &one.payload), long(0));
    }
}

pub(crate) async fn what_was_written_since_it_was_read_stands(bench: &Whole) {
    let (old, both) = rings();
    fill(bench, &old, 1).await;
    let user = calendly("user0");
    let mut swaps: BTreeMap<Drawer, Vec<Swap>> = BTreeMap::new();
    for drawer in Drawer::ALL {
        for row in rows(bench, drawer, Some("new-2")).await.into_values() {
            let to: Vec<Sealed> = row.seals.iter().map(|_| other_seal(&both)).collect();
            swaps.entry(drawer).or_default().push(Swap {
                row: row.row,
                from: row.seals,
                to,
            });
        }
    }
    let won = somebody_else_writes(bench, &both).await;
    for (drawer, swaps) in swaps {
        if drawer == Drawer::Events {
            continue;
        }
        let count = swaps.len();
        assert_eq!(
            bench.store.reseal(swaps).await.unwrap(),
            vec![false; count],
            "{drawer:?}"
        );
    }
    let kept = read(bench, &user).await.tokens.unwrap();
    assert_eq!(
        (kept.access, kept.refresh),
        (won.tokens.access, won.tokens.refresh)
    );
    assert_eq!(
        bench.other.peek(Purpose::Route, &digest(0)).await.unwrap(),
        None
    );
    let job = bench
        .other
        .job(JobKind::Sync, &user)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        open(&both, &Binding::job(&user), &job.state.unwrap()),
        "further"
    );
}

/// A renewal, whose tokens are returned; what was there is taken, replaced and written anew.
async fn somebody_else_writes(bench: &Whole, both: &KeyRing) -> Renewed {
    let user = calendly("user0");
    let connection = read(bench, &user).await;
    let won = Renewed {
        tokens: tokens(both, &user, "second"),
        ..renewed("")
    };
    bench
        .store
        .commit(&fence(&connection), won.clone())
        .await
        .unwrap();
    for purpose in Purpose::ALL {
        bench
            .store
            .take(purpose, &digest(0))
            .await
            .unwrap()
            .unwrap();
    }
    for kind in JobKind::ALL {
        let state = seal(both, &Binding::job(&user), "further");
        let due = Duration::from_hours(1);
        let replaced = bench
            .store
            .schedule(kind, &user, Some(state), due, Existing::Replace);
        replaced.await.unwrap();
    }
    for user in ["user0", "anna"] {
        let mut newer = meeting(both, user, 0);
        newer.version = newer.version.saturating_add(Duration::from_secs(1));
        bench.store.upsert_meetings(vec![newer]).await.unwrap();
    }
    bench.store.prune(far(), far(), 9).await.unwrap();
    won
}

fn other_seal(ring: &KeyRing) -> Sealed {
    seal(ring, &Binding::job(&calendly("nobody")), "not to be seen")
}

fn far() -> Timestamp {
    START.saturating_add(Duration::from_hours(99))
}

pub(crate) async fn each_swap_of_a_batch_is_judged_by_itself(bench: &Whole) {
    let (old, both) = rings();
    fill(bench, &old, 4).await;
    for drawer in Drawer::ALL {
        let found = rows(bench, drawer, Some("new-2")).await;
        let swaps = found.into_values().enumerate().map(|(n, row)| Swap {
            from: if n % 2 == 0 {
                row.seals.clone()
            } else {
                row.seals.iter().map(|_| other_seal(&both)).collect()
            },
            to: row.seals.iter().map(|_| other_seal(&both)).collect(),
            row: row.row,
        });
        let swaps: Vec<Swap> = swaps.collect();
        let expected: Vec<bool> = (0..swaps.len()).map(|n| n % 2 == 0).collect();
        let done = bench.store.reseal(swaps.clone()).await.unwrap();
        assert_eq!(done, expected, "{drawer:?}");
        let heads = rows(bench, drawer, None).await;
        let new = heads.values().filter(|row| {
            let ids = row
                .seals
                .iter()
                .map(|seal| key_id_of(seal.as_bytes()).unwrap());
            ids.eq(row.seals.iter().map(|_| "new-2"))
        });
        let wanted = expected.iter().filter(|done| **done).count();
        assert_eq!(new.count(), wanted, "{drawer:?}");
    }
    assert_eq!(bench.store.reseal(Vec::new()).await.unwrap(), [false; 0]);
}

pub(crate) async fn a_record_that_was_sealed_anew_ends_when_it_would_have(bench: &Whole) {
    let (old, both) = rings();
    fill(bench, &old, 2).await;
    let random = fresh();
    let providers = [calendly("u").provider, key("calcom", "u").provider];
    rotation(bench, &both, &random, &providers)
        .turn(|_| {})
        .await
        .unwrap();
    bench.clock.advance(Duration::from_mins(59));
    assert!(
        bench
            .other
            .peek(Purpose::Ticket, &digest(0))
            .await
            .unwrap()
            .is_some()
    );
    bench.clock.advance(Duration::from_mins(2));
    assert_eq!(
        bench.other.peek(Purpose::Ticket, &digest(0)).await.unwrap(),
        None
    );
    let left = rows(bench, Drawer::Records, None).await;
    assert_eq!(left.len(), 2, "what has ended is not met: {left:?}");
    assert!(
        left.values()
            .all(|row| matches!(row.row, Row::Record(Purpose::Route, _)))
    );
}

pub(crate) async fn what_does_not_open_is_left_as_it_is_and_told(bench: &Whole) {
    let (old, both) = rings();
    let stranger = {
        let key = Key::new("lost", &Secret::new([9; 32])).unwrap();
        KeyRing::new("lost", vec![key]).unwrap()
    };
    fill(bench, &old, 1).await;
    for (user, ring, bound_to) in [
        ("lost", &stranger, "lost"),
        ("moved", &old, "somebody-else"),
    ] {
        let mut connection = new(&calendly(user), "");
        connection.tokens = Some(tokens(ring, &calendly(bound_to), "first"));
        bench.store.save(vec![connection]).await.unwrap();
    }
    let random = fresh();
    // A provider that is not among them: its records cannot be told apart from altered ones.
    let providers = [key("calcom", "u").provider];
    let rotation = rotation(bench, &both, &random, &providers);
    let turned = rotation.turn(|_| {}).await.unwrap();
    assert_eq!(turned.closed["lost"], 1);
    assert_eq!(turned.closed["old"], 1 + 4);
    assert_eq!(turned.resealed, 10 - 4);
    let left = rotation.count(|_| {}).await.unwrap();
    assert_eq!((left.rows("lost"), left.rows("old")), (1, 5));
    let kept = read(bench, &calendly("lost")).await.tokens.unwrap();
    assert_eq!(kept.access.key_id().unwrap(), "lost");
}

pub(crate) async fn a_connection_with_two_keys_is_sealed_anew_as_a_whole(bench: &Whole) {
    let (old, both) = rings();
    let user = calendly("mixed");
    let mut mixed = tokens(&old, &user, "first");
    mixed.access = tokens(&both, &user, "first").access;
    let mut connection = new(&user, "");
    connection.tokens = Some(mixed);
    let mut bare = new(&calendly("no-refresh"), "");
    bare.tokens = Some(SealedTokens {
        refresh: None,
        ..tokens(&old, &calendly("no-refresh"), "first")
    });
    bench.store.save(vec![connection, bare]).await.unwrap();
    let random = fresh();
    let rotation = rotation(bench, &both, &random, &[]);
    let before = rotation.count(|_| {}).await.unwrap();
    assert_eq!((before.rows("old"), before.rows("new-2")), (2, 1));
    assert_eq!(rotation.turn(|_| {}).await.unwrap().resealed, 2);
    assert_eq!(rotation.count(|_| {}).await.unwrap().rows("old"), 0);
    let kept = read(bench, &user).await.tokens.unwrap();
    let refresh = Binding::token(&user, Field::RefreshToken);
    let text = open(&only_new(), &refresh, &kept.refresh.unwrap());
    assert_eq!(text, format!("first of {user}"));
}

pub(crate) async fn sealing_anew_leaves_fences_as_they_were(bench: &Whole) {
    let (old, both) = rings();
    fill(bench, &old, 1).await;
    let user = calendly("user0");
    let was = read(bench, &user).await;
    let turned = rotation(bench, &both, &fresh(), &[]).turn(|_| {}).await;
    assert!(turned.unwrap().resealed > 0);
    let now = read(bench, &user).await;
    assert_ne!(now.tokens, was.tokens);
    assert_eq!(fence(&now), fence(&was));
    let committed = bench.store.commit(&fence(&was), renewed("second")).await;
    let committed = committed.unwrap();
    assert!(matches!(committed, Committed::Stored(_)), "{committed:?}");
}
