//! Names of keys, and which of them lie together.
//!
//! Connections are spread over 64 buckets. All keys of a bucket, its indices among them, carry one
//! hash tag and so lie in one slot of a cluster: whatever a script does to a connection, it does to
//! its indices in the same step. The tags are chosen so that the slots lie evenly over a cluster,
//! whatever the prefix is.
//!
//! ```text
//! {daypass:6r}:c:calendly/anna       hash    a connection, with its lease
//! {daypass:6r}:ok  :reauth           zset    names in order, by health
//! {daypass:6r}:census                hash    how many, by provider and health
//! {daypass:6r}:age:calendly  :end:…  zset    what can be renewed, by age and by end
//! {daypass:6r}:of:calendly           hash    users by account
//! {daypass:6r}:anon:calendly         zset    names of those whose account is not known
//! {daypass:6r}:out                   hash    changes that are not in the log yet (cluster only)
//! {daypass:log}:log                  stream  changes, the newest some thousand
//! {daypass:log}:schema  :probe  :tidy  :accounts  :again  :mended
//! {daypass:log}:duty:keep-alive:calcom   hash    who does a job for all
//! {daypass:log}:audit                zset    who did what: an id and the record, in their order
//! ```
//!
//! What is kept beside connections lies in sections, each with one hash tag: a bucket, or a slot of
//! its own. Their scripts are given the section ([`Keys::queue`] and so on) and find its keys.
//!
//! ```text
//! {daypass:q}:…                      events and deliveries, all of them (scripts/queue/queue.lua)
//! {daypass:sync}:…                   jobs, each kind of them (scripts/jobs/jobs.lua)
//! {daypass:6r}:x:ticket:81d2…        hash    a record that ends by itself, by its digest
//! {daypass:6r}:m:…  :ms:…  :mends    meetings, by their user (scripts/meetings/meetings.lua)
//! ```
//!
//! How a connection, a digest or a user finds its bucket can never change without moving every key.

use crate::{
    base::ids::{ConnectionKey, ProviderName, UserId},
    store::{Digest, JobKind, Purpose},
};

/// How many buckets there are; with the schema, for good.
pub(super) const BUCKETS: u16 = 64;

/// How many keys a script is given for each connection.
const PER_ROW: usize = 8;

/// Slots of a cluster (Redis Cluster specification).
const SLOTS: u16 = 16_384;

/// Makes the keys of one store.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    tags: Vec<String>,
}

/// Where one connection lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its row and its indices, as the scripts expect them.
    pub(super) keys: [String; PER_ROW],
    /// The outbox of its bucket.
    pub(super) outbox: String,
    /// Its name in the indices.
    pub(super) name: String,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let tags = tags().into_iter().map(|tag| format!("{{{prefix}:{tag}}}"));
        Self {
            prefix: prefix.to_owned(),
            tags: tags.collect(),
        }
    }

    /// The channel on which changes are published.
    pub(super) fn channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    /// A key that belongs to no connection.
    pub(super) fn single(&self, what: &str) -> String {
        format!("{{{}:log}}:{what}", self.prefix)
    }

    /// The key of `what` in each bucket.
    pub(super) fn each(&self, what: &str) -> Vec<String> {
        let keys = self.tags.iter().map(|tag| format!("{tag}:{what}"));
        keys.collect()
    }

    /// Where the connection of `key` lies.
    pub(super) fn place(&self, key: &ConnectionKey) -> Place {
        let (provider, user) = (&key.provider, &key.user);
        let name = name(key);
        let tag = self.bucket_of(&name);
        Place {
            keys: [
                format!("{tag}:c:{provider}/{user}"),
                format!("{tag}:ok"),
                format!("{tag}:reauth"),
                format!("{tag}:census"),
                format!("{tag}:age:{provider}"),
                format!("{tag}:end:{provider}"),
                format!("{tag}:of:{provider}"),
                format!("{tag}:anon:{provider}"),
            ],
            outbox: format!("{tag}:out"),
            name,
        }
    }

    /// The section of events and deliveries.
    pub(super) fn queue(&self) -> String {
        format!("{{{}:q}}:", self.prefix)
    }

    /// The section of the jobs of one kind.
    pub(super) fn jobs(&self, kind: JobKind) -> String {
        format!("{{{}:{}}}:", self.prefix, kind.as_str())
    }

    /// The sections that have a slot of their own.
    pub(super) fn sections(&self) -> Vec<String> {
        let kinds = [JobKind::Sync, JobKind::Subscription];
        let jobs = kinds.into_iter().map(|kind| self.jobs(kind));
        jobs.chain([self.queue()]).collect()
    }

    /// The section of the meetings of `user`.
    pub(super) fn meetings(&self, user: &UserId) -> String {
        format!("{}:", self.bucket_of(user.as_str()))
    }

    /// The sections of all meetings.
    pub(super) fn all_meetings(&self) -> Vec<String> {
        self.each("")
    }

    /// The record that `digest` finds, and where a call about it is remembered.
    pub(super) fn record(&self, purpose: Purpose, digest: &Digest, call: &str) -> [String; 2] {
        let digest = hex::encode(digest.0);
        let tag = self.bucket_of(&digest);
        let purpose = purpose.as_str();
        [
            format!("{tag}:x:{purpose}:{digest}"),
            format!("{tag}:call:{call}"),
        ]
    }

    /// What matches the keys of all records, as `SCAN` takes it.
    pub(super) fn all_records(&self) -> String {
        format!("{{{}:??}}:x:*", escaped(&self.prefix))
    }

    /// What matches the keys of all payloads, as `SCAN` takes it.
    pub(super) fn all_payloads(&self) -> String {
        format!("{{{}:q}}:p:*", escaped(&self.prefix))
    }

    /// The slot of events and deliveries.
    pub(super) fn slot_of_queue(&self) -> u16 {
        slot(&format!("{}:q", self.prefix))
    }

    /// The tag of the bucket that `name` belongs to.
    fn bucket_of(&self, name: &str) -> &str {
        let index = usize::from(bucket(name));
        self.tags.get(index).map_or("", String::as_str)
    }
}

/// `text` as a pattern that matches it and nothing else.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, letter| {
        if "*?[]\\^".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
        pattern
    })
}

/// The name of a connection in the indices. A space comes before every character of either part, so
/// that the order of names is the order of keys.
pub(super) fn name(key: &ConnectionKey) -> String {
    format!("{} {}", key.provider, key.user)
}

/// The reverse of [`name`].
pub(super) fn parse_name(name: &str) -> Option<ConnectionKey> {
    let (provider, user) = name.split_once(' ')?;
    Some(ConnectionKey {
        provider: ProviderName::parse(provider).ok()?,
        user: UserId::parse(user).ok()?,
    })
}

/// Which bucket a name belongs to: FNV-1a, folded.
fn bucket(name: &str) -> u16 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash >> 32) ^ hash;
    u16::try_from(folded % u64::from(BUCKETS)).unwrap_or(0)
}

/// The first tag of two characters for each sixty-fourth of the slots. Equal endings of equal length
/// shift all slots alike (the checksum is linear), so they stay even under any prefix.
fn tags() -> Vec<String> {
    let digits = || ('0'..='9').chain('a'..='z');
    let mut found: Vec<Option<String>> = vec![None; usize::from(BUCKETS)];
    for first in digits() {
        for second in digits() {
            let tag = format!("{first}{second}");
            let part = slot(&tag) / (SLOTS / BUCKETS);
            if let Some(place) = found.get_mut(usize::from(part)) {
                place.get_or_insert(tag);
            }
        }
    }
    found.into_iter().flatten().collect()
}

/// The slot of a hash tag: CRC-16/XMODEM (Redis Cluster specification, appendix A).
fn slot(tag: &str) -> u16 {
    let checksum = tag.bytes().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(byte) << 8), |sum, _bit| {
            let shifted = sum << 1;
            if sum & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    checksum % SLOTS
}

/// Some `count` of `keys`, evenly apart, and others each turn until it was each one's.
pub(super) fn some_of(
    keys: Vec<String>,
    count: usize,
    turn: usize,
) -> impl Iterator<Item = String> {
    let apart = (keys.len() / count).max(1);
    keys.into_iter().skip(turn % apart).step_by(apart)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(provider: &str, user: &str) -> ConnectionKey {
        ConnectionKey {
            provider: ProviderName::parse(provider).unwrap(),
            user: UserId::parse(user).unwrap(),
        }
    }

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182, "as `CLUSTER KEYSLOT foo` says");
    }

    #[test]
    fn buckets_lie_evenly_over_a_cluster_whatever_the_prefix() {
        for prefix in ["daypass", "d", "staging-eu"] {
            let keys = Keys::new(prefix);
            let parts: BTreeSet<u16> = keys
                .tags
                .iter()
                .map(|tag| slot(tag.trim_matches(['{', '}'])) / (SLOTS / BUCKETS))
                .collect();
            assert_eq!(parts.len(), usize::from(BUCKETS), "{prefix}");
        }
    }

    #[test]
    fn a_connection_stays_where_it_was_first_put() {
        let keys = Keys::new("daypass");
        let place = keys.place(&key("calendly", "a{b}c"));
        let expected = [
            "c:calendly/a{b}c",
            "ok",
            "reauth",
            "census",
            "age:calendly",
            "end:calendly",
            "of:calendly",
            "anon:calendly",
        ];
        assert_eq!(
            place.keys,
            expected.map(|what| format!("{{daypass:6r}}:{what}"))
        );
        assert_eq!(place.outbox, "{daypass:6r}:out");
        let anna = keys.place(&key("calcom", "anna")).outbox;
        assert_eq!(anna, "{daypass:22}:out");
    }

    #[test]
    fn what_is_kept_beside_connections_stays_where_it_was_first_put() {
        let keys = Keys::new("daypass");
        let anna = UserId::parse("anna").unwrap();
        assert_eq!(keys.queue(), "{daypass:q}:");
        assert_eq!(keys.jobs(JobKind::Sync), "{daypass:sync}:");
        assert_eq!(keys.jobs(JobKind::Subscription), "{daypass:subscription}:");
        assert_eq!(keys.meetings(&anna), "{daypass:0i}:");
        let [record, call] = keys.record(Purpose::Ticket, &Digest([7; 32]), "c");
        let digest = "07".repeat(32);
        assert_eq!(record, format!("{{daypass:1a}}:x:ticket:{digest}"));
        assert_eq!(call, "{daypass:1a}:call:c");
    }

    proptest! {
        #[test]
        fn names_are_in_the_order_of_keys(
            a in "[a-z][a-z0-9-]{0,3}", b in "[a-z][a-z0-9-]{0,3}", x in "[!-~]{1,4}", y in "[!-~]{1,4}",
        ) {
            let (one, other) = (key(&a, &x), key(&b, &y));
            prop_assert_eq!(name(&one).cmp(&name(&other)), one.cmp(&other));
            prop_assert_eq!(parse_name(&name(&one)), Some(one));
        }
    }

    #[test]
    fn some_of_the_keys_are_evenly_apart_and_all_get_their_turn() {
        let keys: Vec<String> = (0..64).map(|n| n.to_string()).collect();
        let mut all: Vec<String> = Vec::new();
        for turn in 0..8 {
            let some: Vec<String> = some_of(keys.clone(), 8, turn).collect();
            for share in keys.chunks(8) {
                let met = share.iter().filter(|key| some.contains(key)).count();
                assert_eq!(met, 1, "of eight servers, each is met each time: {some:?}");
            }
            all.extend(some);
        }
        all.sort_by_key(|key| key.parse::<u32>().unwrap());
        assert_eq!(all, keys);
        let sections = ["a", "b", "c"].map(str::to_owned);
        let turns = (0..3).flat_map(|turn| some_of(sections.to_vec(), 1, turn));
        assert_eq!(turns.collect::<Vec<_>>(), sections);
    }
}
