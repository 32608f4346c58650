//! Rotating keys: everything that a store keeps sealed, sealed anew with the active key, while others go
//! on reading and writing.
//!
//! 1. What is done is what the store shows: nothing is remembered elsewhere, so whoever is stopped begins
//!    again and finds only the rest to do.
//! 2. A row that somebody writes meanwhile is theirs ([`Seals::reseal`]). Who writes seals with the key
//!    that is active *there*: so the count comes last, and says what is still sealed with which key.
//! 3. What does not open is left as it is, counted and named by key. Without its key it is lost; with
//!    it, the next turn finds it.
//! 4. A store that does not answer is asked again for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    Bookmark, Drawer, Error, Row, SealedPage, SealedRow, Seals, Swap,
    seal::{Binding, Field, KeyRing, OpenError, Sealed, key_id_of},
};
use crate::base::{ids::ProviderName, random::Random};

/// How many rows are read, and written, at once.
const PAGE: usize = 200;

/// The same of events, which may be a megabyte each.
const EVENTS: usize = 32;

/// How often a store that does not answer is asked: for some twenty seconds, which is longer than a
/// failover takes.
const TRIES: u32 = 10;

/// Between two tries; grows with each.
const PAUSE: Duration = Duration::from_millis(400);

/// What seals anew, and where.
#[expect(
    missing_debug_implementations,
    reason = "what it goes through has none"
)]
pub struct Rotation<'a> {
    /// Where it is kept.
    pub seals: &'a dyn Seals,
    /// The key that seals, and those that open.
    pub keys: &'a KeyRing,
    /// Draws nonces.
    pub random: &'a dyn Random,
    /// Of which a record may be: a store does not say of which it is.
    pub providers: &'a [ProviderName],
}

/// How much is sealed with which key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Rows by key and by where they are. A connection whose two tokens have two keys is in both.
    pub keys: BTreeMap<String, BTreeMap<Drawer, u64>>,
    /// Names of rows that cannot be read.
    pub unreadable: Vec<String>,
}

/// What one turn did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Rows that were sealed anew.
    pub resealed: u64,
    /// Rows that somebody else wrote meanwhile.
    pub overtaken: u64,
    /// Rows that do not open, by the key that they name.
    pub closed: BTreeMap<String, u64>,
}

// === impl Rotation ===

impl Rotation<'_> {
    /// Counts what is sealed with which key; tells `each` how many rows more it has seen. Reads no more
    /// than heads.
    pub async fn count(&self, mut each: impl FnMut(usize)) -> Result<InUse, Error> {
        let mut found = InUse::default();
        for drawer in Drawer::ALL {
            let mut from = None;
            loop {
                let page = self.page(drawer, from.as_ref(), None).await?;
                for row in &page.rows {
                    found.add(drawer, row);
                }
                each(page.rows.len());
                found.unreadable.extend(page.unreadable);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Seals anew what another key than the active one has sealed; tells `each` of how many rows more
    /// that is known.
    pub async fn turn(&self, mut each: impl FnMut(usize)) -> Result<Turned, Error> {
        let mut turned = Turned::default();
        for drawer in Drawer::ALL {
            let mut from = None;
            loop {
                let spare = Some(self.keys.active_id());
                let page = self.page(drawer, from.as_ref(), spare).await?;
                let (swaps, met) = self.swaps(page.rows, &mut turned);
                turned.add(&self.put(swaps).await?);
                each(met);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(turned)
    }

    async fn page(
        &self,
        drawer: Drawer,
        from: Option<&Bookmark>,
        spare: Option<&str>,
    ) -> Result<SealedPage, Error> {
        let limit = match (drawer, spare) {
            (Drawer::Events, Some(_)) => EVENTS,
            _ => PAGE,
        };
        patiently(async || self.seals.sealed(drawer, from, limit, spare).await).await
    }

    async fn put(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, Error> {
        if swaps.is_empty() {
            return Ok(Vec::new());
        }
        patiently(async || self.seals.reseal(swaps.clone()).await).await
    }

    /// What is to be put where, and how many rows are not sealed with the active key.
    fn swaps(&self, rows: Vec<SealedRow>, turned: &mut Turned) -> (Vec<Swap>, usize) {
        let (mut swaps, mut met) = (Vec::new(), 0);
        for row in rows {
            if row.seals.iter().all(|seal| self.is_current(seal)) {
                continue;
            }
            met += 1;
            match self.sealed_again(&row) {
                Ok(to) => swaps.push(Swap {
                    row: row.row,
                    from: row.seals,
                    to,
                }),
                Err(key) => *turned.closed.entry(key).or_default() += 1,
            }
        }
        (swaps, met)
    }

    fn is_current(&self, seal: &Sealed) -> bool {
        key_id_of(seal.as_bytes()).is_ok_and(|id| id == self.keys.active_id())
    }

    /// The seals of `row` with the active key, or the key of the one that does not open.
    fn sealed_again(&self, row: &SealedRow) -> Result<Vec<Sealed>, String> {
        let fields = [Field::AccessToken, Field::RefreshToken];
        let seals = row.seals.iter().zip(fields);
        seals
            .map(|(seal, field)| {
                if self.is_current(seal) {
                    return Ok(seal.clone());
                }
                let mut bindings = self.bindings(&row.row, field).into_iter();
                let opened = bindings.find_map(|binding| {
                    let aad = binding.aad();
                    self.keys.seal_again(self.random, &aad, seal).ok()
                });
                opened.ok_or_else(|| key_of(seal))
            })
            .collect()
    }

    /// What the seal in `row` may be bound to.
    fn bindings(&self, row: &Row, field: Field) -> Vec<Binding> {
        match row {
            Row::Connection(key) => vec![Binding::token(key, field)],
            Row::Job(_, key) => vec![Binding::job(key)],
            Row::Event { provider, id, .. } => vec![Binding::event(provider, *id)],
            Row::Meeting(key, id) => vec![Binding::meeting(key, id)],
            Row::Record(purpose, digest) => {
                let providers = self.providers.iter();
                providers
                    .map(|provider| Binding::record(provider, *purpose, digest))
                    .collect()
            }
        }
    }
}

/// Asks again while the store does not answer.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(Error::Unavailable { .. }) if tries < TRIES => {
                sleep(PAUSE.saturating_mul(tries)).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

/// The key that `seal` names, for people; what is no seal names none.
fn key_of(seal: &Sealed) -> String {
    match key_id_of(seal.as_bytes()) {
        Ok(id) => id.to_owned(),
        Err(OpenError::UnknownKey { id }) => id,
        Err(_) => "?".to_owned(),
    }
}

// === impl InUse ===

impl InUse {
    fn add(&mut self, drawer: Drawer, row: &SealedRow) {
        let keys: BTreeSet<String> = row.seals.iter().map(key_of).collect();
        for key in keys {
            let rows = self.keys.entry(key).or_default();
            *rows.entry(drawer).or_default() += 1;
        }
    }

    /// How many rows `key` has sealed.
    pub fn rows(&self, key: &str) -> u64 {
        self.keys.get(key).map_or(0, |rows| rows.values().sum())
    }

    /// How many rows have seals of other keys than `key`; one with two of them counts twice.
    pub fn rows_beside(&self, key: &str) -> u64 {
        let others = self.keys.iter().filter(|(id, _)| *id != key);
        others.map(|(_, rows)| rows.values().sum::<u64>()).sum()
    }
}

// === impl Turned ===

impl Turned {
    fn add(&mut self, done: &[bool]) {
        for was_done in done {
            let count = if *was_done {
                &mut self.resealed
            } else {
                &mut self.overtaken
            };
            *count += 1;
        }
    }
}
