//! Rows that somebody else has written to.

use std::path::Path;

use daypass::{
    base::{random::OsRandom, random::SeededRandom, secret::Secret},
    store::{
        Error, Filter, Saved, Store,
        seal::{Aad, Field, Key, KeyRing, OpenError, Sealed, generate_key},
    },
};

use crate::records::{calendly, new, open, seal};

/// Does `sql` to the file behind the store's back, constraints aside.
pub(crate) fn tamper(path: &Path, sql: &str) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    db.execute_batch(sql).unwrap();
}

fn ring() -> KeyRing {
    let key = Key::parse("k1", &generate_key(&SeededRandom::new(1))).unwrap();
    KeyRing::new("k1", vec![key]).unwrap()
}

fn sealed(user: &str) -> Sealed {
    let key = calendly(user);
    let aad = Aad::new(&key, Field::AccessToken);
    ring().seal(&OsRandom, &aad, &Secret::new(format!("token of {user}")))
}

async fn open_access(store: &dyn Store, user: &str) -> Result<String, OpenError> {
    let key = calendly(user);
    let tokens = store.load(&key).await.unwrap().unwrap().tokens.unwrap();
    let opened = ring().open(&Aad::new(&key, Field::AccessToken), &tokens.access);
    opened.map(|secret| secret.danger_expose().clone())
}

#[tokio::test]
async fn a_token_copied_to_another_users_row_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    let batch = ["anna", "mallory"].map(|user| new(user, sealed(user)));
    store.save(batch.to_vec()).await.unwrap();
    let own = open_access(&store, "mallory").await;
    assert_eq!(own.as_deref(), Ok("token of mallory"));
    tamper(
        &path,
        "UPDATE connections SET access = (SELECT access FROM connections WHERE user = 'anna') \
         WHERE user = 'mallory'",
    );
    let stolen = open_access(&store, "mallory").await;
    assert_eq!(stolen, Err(OpenError::DoesNotOpen { id: "k1".into() }));
}

#[tokio::test]
async fn a_truncated_ciphertext_is_told_from_a_foreign_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", sealed("anna"))]).await.unwrap();
    tamper(
        &path,
        "UPDATE connections SET access = substr(access, 1, 9)",
    );
    assert_eq!(open_access(&store, "anna").await, Err(OpenError::Truncated));
    tamper(&path, "UPDATE connections SET access = x''");
    assert_eq!(open_access(&store, "anna").await, Err(OpenError::Truncated));
}

#[tokio::test]
async fn no_token_is_in_the_file_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.save(vec![new("anna", sealed("anna"))]).await.unwrap();
    drop(store);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("token of anna"));
    }
}

#[tokio::test]
async fn a_row_that_contradicts_itself_is_named_and_can_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    let both = ["anna", "ben"].map(|user| new(user, seal(user)));
    for damage in [
        "id = x'00'",
        "reauth_reason = 'boredom', reauth_since = 1",
        "reauth_since = 1",
        "renewed_at = NULL",
        "intent_owner = x'00'",
        "intent_attempts = 1",
        "intent_redemption = 'prayer'",
        "cooldown_until = 1",
        "generation = -1",
        "fingerprint = x'00'",
        "before_at = 1",
    ] {
        store.save(both.to_vec()).await.unwrap();
        tamper(
            &path,
            &format!("UPDATE connections SET {damage} WHERE user = 'anna'"),
        );
        let error = store.load(&calendly("anna")).await.unwrap_err();
        let Error::Inconsistent { row, .. } = &error else {
            panic!("{damage}: {error:?}");
        };
        assert_eq!(row, "calendly/anna", "{damage}");
        assert!(store.load(&calendly("ben")).await.unwrap().is_some());
        let listed = store.page(&Filter::default(), None, 9).await;
        assert!(
            matches!(listed, Err(Error::Inconsistent { .. })),
            "{damage}"
        );
        let saved = store.save(vec![new("anna", seal("again"))]).await.unwrap();
        assert!(matches!(saved.as_slice(), [Saved::Created(_)]), "{damage}");
        assert!(store.load(&calendly("anna")).await.unwrap().is_some());
        tamper(
            &path,
            &format!("UPDATE connections SET {damage} WHERE user = 'anna'"),
        );
        store.remove(&calendly("anna")).await.unwrap();
        assert_eq!(
            store.load(&calendly("anna")).await.unwrap(),
            None,
            "{damage}"
        );
    }
}
