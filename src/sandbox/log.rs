//! The request log: what came in, on whose behalf, and what became of it.
//!
//! Tokens appear by [`token_id`] only, so the log can be printed. The newest [`KEPT`] entries are
//! kept; the counters of [`Stats`] never forget until the log is cleared.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::switches::Call;
use crate::base::clock::Timestamp;

/// Entries kept; enough for a load test, and small enough to forget about.
const KEPT: usize = 50_000;

/// What sort of request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A token endpoint.
    Token,
    /// The API.
    Api,
    /// A page for a browser.
    Page,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Order of arrival, from 1.
    pub seq: u64,
    /// When it arrived, by the machine's clock.
    pub at: Timestamp,
    /// What sort it was.
    pub kind: Kind,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The status; 0 if the answer was withheld.
    pub status: u16,
    /// [`token_id`] of the bearer, if there was one.
    pub bearer: Option<String>,
    /// Whose token it was, also if it is dead; for token calls, whose grant.
    pub user: Option<String>,
    /// Filled for token calls.
    pub token_call: Option<TokenCall>,
}

/// What a token call did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCall {
    /// Which call.
    pub call: Call,
    /// Whose grant, if it could be told.
    pub user: Option<String>,
    /// [`token_id`] of the refresh token that was presented.
    pub refresh: Option<String>,
    /// `ok` or the provider's error code. `ok` also when the answer was then lost or broken.
    pub outcome: String,
    /// [`token_id`] of the access token that was minted.
    pub new_access: Option<String>,
    /// [`token_id`] of the refresh token that was minted.
    pub new_refresh: Option<String>,
}

/// Which entries.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only this user.
    pub user: Option<String>,
    /// Only paths that start so.
    pub path: Option<String>,
    /// Only this sort.
    pub kind: Option<Kind>,
    /// Only what came after this number.
    pub after: u64,
}

/// Counters since the log was last cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Token calls by `<call>:<outcome>`, such as `refresh:ok`.
    pub token_calls: BTreeMap<String, u64>,
    /// Successful or refused uses of each refresh token, by [`token_id`].
    pub redemptions: BTreeMap<String, Redemptions>,
    /// API calls by user.
    pub api_by_user: BTreeMap<String, u64>,
    /// API calls by [`token_id`] of the bearer.
    pub api_by_bearer: BTreeMap<String, u64>,
    /// API calls by status.
    pub api_by_status: BTreeMap<u16, u64>,
    /// API calls without any bearer.
    pub api_anonymous: u64,
}

/// How often a refresh token was presented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemptions {
    /// Whose it was.
    pub user: Option<String>,
    /// Successes.
    pub ok: u64,
    /// Refusals, reuse included.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    entries: VecDeque<Entry>,
    stats: Stats,
}

/// Names a token without giving it away: the first 16 hex digits of its SHA-256.
pub fn token_id(token: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    hex::encode(digest.get(..8).unwrap_or_default())
}

// === impl Log ===

impl Log {
    /// The number of a request that has just arrived.
    pub(crate) fn arrive(&self) -> u64 {
        let mut inner = self.0.lock();
        inner.last += 1;
        inner.last
    }

    pub(crate) fn push(&self, entry: Entry) {
        let mut inner = self.0.lock();
        inner.stats.count(&entry);
        if inner.entries.len() == KEPT {
            inner.entries.pop_front();
        }
        inner.entries.push_back(entry);
    }

    pub(crate) fn matching(&self, filter: &Filter) -> Vec<Entry> {
        let inner = self.0.lock();
        let mut found: Vec<_> = inner
            .entries
            .iter()
            .filter(|entry| filter.admits(entry))
            .cloned()
            .collect();
        found.sort_by_key(|entry| entry.seq);
        found
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.lock().stats.clone()
    }

    pub(crate) fn clear(&self) {
        let mut inner = self.0.lock();
        inner.entries.clear();
        inner.stats = Stats::default();
    }
}

// === impl Filter ===

impl Filter {
    fn admits(&self, entry: &Entry) -> bool {
        entry.seq > self.after
            && self.kind.is_none_or(|kind| kind == entry.kind)
            && self
                .user
                .as_ref()
                .is_none_or(|user| entry.user.as_ref() == Some(user))
            && self
                .path
                .as_ref()
                .is_none_or(|path| entry.path.starts_with(path))
    }
}

// === impl Stats ===

impl Stats {
    fn count(&mut self, entry: &Entry) {
        if let Some(call) = &entry.token_call {
            self.count_call(call);
        }
        if entry.kind != Kind::Api {
            return;
        }
        *self.api_by_status.entry(entry.status).or_default() += 1;
        match &entry.bearer {
            Some(id) => *self.api_by_bearer.entry(id.clone()).or_default() += 1,
            None => self.api_anonymous += 1,
        }
        if let Some(user) = &entry.user {
            *self.api_by_user.entry(user.clone()).or_default() += 1;
        }
    }

    fn count_call(&mut self, call: &TokenCall) {
        let name = serde_json::to_value(call.call).unwrap_or_default();
        let key = format!("{}:{}", name.as_str().unwrap_or_default(), call.outcome);
        *self.token_calls.entry(key).or_default() += 1;
        let Some(id) = &call.refresh else { return };
        let seen = self.redemptions.entry(id.clone()).or_default();
        seen.user = call.user.clone().or_else(|| seen.user.take());
        if call.outcome == "ok" {
            seen.ok += 1;
        } else {
            seen.refused += 1;
        }
    }

    /// Successful token calls of any sort.
    pub fn minted(&self) -> u64 {
        self.token_calls
            .iter()
            .filter(|(key, _)| key.ends_with(":ok"))
            .map(|(_, count)| count)
            .sum()
    }
}
