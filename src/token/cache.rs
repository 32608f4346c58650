//! The connections that memory knows: bounded, and found without making a key.
//!
//! An entry with a flight is never evicted; any other may be, as the store has it too. (Tokens that
//! the store refused are kept by the spool, not here.)

use std::{hash::Hash, sync::Arc};

use quick_cache::{Equivalent, Lifecycle as Eviction, UnitWeighter, sync::Cache as Bounded};

use super::entry::Entry;
use crate::base::ids::{ConnectionKey, ProviderName};

type Hasher = quick_cache::DefaultHashBuilder;

/// Entries by connection.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Bounded<Known, Arc<Entry>, UnitWeighter, Hasher, KeepFlights>,
    /// The names that entries share, instead of one each.
    names: Vec<ProviderName>,
}

/// An entry as the key to itself: hashes and compares as its [`ConnectionKey`] does.
#[derive(Clone, Debug)]
struct Known(Arc<Entry>);

/// A key that borrows its parts; hashes as [`ConnectionKey`] does.
#[derive(Hash)]
struct KeyRef<'a> {
    provider: &'a str,
    user: &'a str,
}

/// Evicts whatever is not in flight.
#[derive(Clone, Copy, Debug)]
struct KeepFlights;

/// What the cache makes room for at once; it grows from there, so that a sidecar with few users stays
/// small.
const EXPECTED: usize = 2048;

// === impl Cache ===

impl Cache {
    /// Holds up to `capacity` connections, most of them of the providers called `names`.
    pub(super) fn new(capacity: usize, names: Vec<ProviderName>) -> Self {
        let expected = capacity.min(EXPECTED);
        let entries = Bounded::with(
            expected,
            capacity as u64,
            UnitWeighter,
            Hasher::default(),
            KeepFlights,
        );
        Self { entries, names }
    }

    /// The entry of a connection, if memory knows it.
    pub(super) fn find(&self, provider: &ProviderName, user: &str) -> Option<Arc<Entry>> {
        self.entries.get(&KeyRef {
            provider: provider.as_str(),
            user,
        })
    }

    /// The entry of a connection, made if need be.
    pub(super) fn entry(&self, key: &ConnectionKey) -> Arc<Entry> {
        if let Some(entry) = self.find(&key.provider, key.user.as_str()) {
            return entry;
        }
        let shared = self.names.iter().find(|name| **name == key.provider);
        let entry = Arc::new(Entry::new(ConnectionKey {
            provider: shared.unwrap_or(&key.provider).clone(),
            user: key.user.clone(),
        }));
        let known = Known(Arc::clone(&entry));
        let made = self
            .entries
            .get_or_insert_with(&known, || Ok::<_, std::convert::Infallible>(entry));
        match made {
            Ok(entry) => entry,
            Err(never) => match never {},
        }
    }

    /// Every entry there is.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.iter().map(|(_, entry)| entry).collect()
    }

    /// How many connections memory knows.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

// === impl Known ===

impl Hash for Known {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Known {}

// === impl KeyRef ===

impl Equivalent<Known> for KeyRef<'_> {
    fn equivalent(&self, known: &Known) -> bool {
        let key = &known.0.key;
        self.user == key.user.as_str() && self.provider == key.provider.as_str()
    }
}

// === impl KeepFlights ===

impl Eviction<Known, Arc<Entry>> for KeepFlights {
    type RequestState = ();

    fn is_pinned(&self, _: &Known, entry: &Arc<Entry>) -> bool {
        entry.in_flight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::UserId;

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: UserId::parse(user).unwrap(),
        }
    }

    #[test]
    fn an_entry_is_found_by_borrowed_parts() {
        let cache = Cache::new(10, Vec::new());
        let made = cache.entry(&key("u1"));
        let found = cache.find(&key("u1").provider, "u1").unwrap();
        assert!(Arc::ptr_eq(&made, &found));
        assert!(cache.find(&key("u1").provider, "u2").is_none());
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = Cache::new(100, Vec::new());
        for n in 0..10_000 {
            cache.entry(&key(&format!("u{n}")));
        }
        assert!(cache.len() <= 100, "{}", cache.len());
    }
}
