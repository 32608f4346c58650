//! What happened, and whether it was allowed to: the invariants of `docs/refresh-protocol.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

use daypass::{
    base::ids::ConnectionKey,
    store::{Connection, ReauthReason},
};
use tokio::time::Instant;

/// One process: its place, and how many were there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) slot: usize,
    pub(crate) life: u32,
}

/// A refresh token, from its birth to whatever became of it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) key: ConnectionKey,
    /// The order in which pairs were issued.
    number: u64,
    /// Who has had it in an answer.
    delivered: Option<Who>,
    stored: bool,
    spooled: bool,
    /// Why it may be lost.
    excuse: Option<&'static str>,
    /// When the provider accepted it: it is spent.
    accepted: Option<u64>,
    /// Who has had the answer to that.
    answered: Option<Who>,
    /// When the store went on to another.
    left_store: Option<u64>,
    /// Who is sending it now, and since when that began.
    sending: Vec<(Who, Instant)>,
    again: u64,
    refused: bool,
}

#[derive(Clone, Debug)]
struct BegunBy {
    at: u64,
    asked: Instant,
    /// When it asked for the lease that it has: to begin, or to prolong it since.
    leased: Instant,
    token: Option<String>,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(pub(crate) BTreeMap<&'static str, u64>);

#[derive(Debug)]
pub(crate) struct Ledger {
    now: u64,
    hash: DefaultHasher,
    lines: Option<Vec<String>>,
    origin: Instant,
    lease: Duration,
    single_use: bool,
    pub(crate) counts: Counts,
    pub(crate) pairs: BTreeMap<String, Pair>,
    begun: BTreeMap<(Who, ConnectionKey), BegunBy>,
    current: BTreeMap<ConnectionKey, String>,
    /// Connections of which the store has lost something that it had acknowledged.
    pub(crate) tainted: BTreeSet<ConnectionKey>,
    /// What went wrong for a connection, or for a process: each allows one more useless call.
    mishaps: BTreeMap<ConnectionKey, u64>,
    pub(crate) disturbed: BTreeMap<Option<usize>, Instant>,
    sent: BTreeMap<ConnectionKey, Vec<Instant>>,
    pub(crate) violation: Option<String>,
}

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str, n: u64) {
        *self.0.entry(what).or_default() += n;
    }

    pub(crate) fn max(&mut self, what: &'static str, n: u64) {
        let most = self.0.entry(what).or_default();
        *most = n.max(*most);
    }
}

/// Its user has connected anew, or disconnected.
const REPLACED: &str = "replaced by its user";

/// More calls a minute for one connection than any fault explains.
const STORM: usize = 18;

impl Ledger {
    pub(crate) fn new(single_use: bool, lease: Duration, traced: bool) -> Self {
        Self {
            now: 0,
            hash: DefaultHasher::new(),
            lines: traced.then(Vec::new),
            origin: Instant::now(),
            lease,
            single_use,
            counts: Counts::default(),
            pairs: BTreeMap::new(),
            begun: BTreeMap::new(),
            current: BTreeMap::new(),
            tainted: BTreeSet::new(),
            mishaps: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            sent: BTreeMap::new(),
            violation: None,
        }
    }

    /// One step of the schedule.
    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.now += 1;
        let at = Instant::now().saturating_duration_since(self.origin);
        let mut line = String::with_capacity(80);
        write!(line, "{:>10.3} {what}", at.as_secs_f64()).unwrap();
        self.hash.write(line.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.now
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// Something went wrong for `who`, or for everyone, until `until`.
    pub(crate) fn disturb(&mut self, slot: Option<usize>, until: Instant) {
        let known = self.disturbed.entry(slot).or_insert(until);
        *known = until.max(*known);
    }

    /// A store operation on `key` failed for the process at `slot`.
    pub(crate) fn mishap(&mut self, slot: usize, key: Option<&ConnectionKey>) {
        self.disturb(Some(slot), Instant::now());
        self.counts.add("store calls failed", 1);
        if let Some(key) = key {
            *self.mishaps.entry(key.clone()).or_default() += 1;
        }
    }

    /// Whether nothing has gone wrong at `slot`, or for everyone, from a lease's length before `since`.
    pub(crate) fn undisturbed(&self, slot: usize, since: Instant) -> bool {
        let quiet = |slot| {
            self.disturbed
                .get(&slot)
                .is_none_or(|at| *at + self.lease < since)
        };
        quiet(Some(slot)) && quiet(None)
    }

    /// The provider has issued `refresh`.
    pub(crate) fn issued(&mut self, key: &ConnectionKey, refresh: &str) {
        let number = self.pairs.len() as u64;
        let pair = Pair {
            key: key.clone(),
            number,
            delivered: None,
            stored: false,
            spooled: false,
            excuse: None,
            accepted: None,
            answered: None,
            left_store: None,
            sending: Vec::new(),
            again: 0,
            refused: false,
        };
        self.pairs.insert(refresh.to_owned(), pair);
    }

    /// The store holds `refresh` now; `None` if it holds nothing of the connection.
    pub(crate) fn holds(&mut self, key: &ConnectionKey, refresh: Option<&str>) {
        let now = self.now;
        if let Some(old) = self.current.get(key)
            && Some(old.as_str()) != refresh
            && let Some(pair) = self.pairs.get_mut(old)
        {
            pair.left_store = Some(now);
        }
        match refresh {
            Some(refresh) => {
                self.current.insert(key.clone(), refresh.to_owned());
                if let Some(pair) = self.pairs.get_mut(refresh) {
                    pair.stored = true;
                    pair.left_store = None;
                }
            }
            None => drop(self.current.remove(key)),
        }
    }

    /// A connect or disconnect has replaced every pair of `key` that there was.
    pub(crate) fn replaced(&mut self, key: &ConnectionKey, by: Option<&str>) {
        for (token, pair) in &mut self.pairs {
            if pair.key == *key && Some(token.as_str()) != by {
                pair.excuse.get_or_insert(REPLACED);
            }
        }
    }

    /// Whether its user has replaced it, or what it was minted from.
    pub(crate) fn was_replaced(&self, refresh: &str) -> bool {
        let pair = self.pairs.get(refresh);
        pair.is_some_and(|pair| pair.excuse == Some(REPLACED))
    }

    pub(crate) fn spooled(&mut self, refresh: &str, spooled: bool) {
        if let Some(pair) = self.pairs.get_mut(refresh) {
            pair.spooled = spooled;
        }
    }

    /// The store has recorded that `who` begins with what it holds.
    pub(crate) fn began(&mut self, who: Who, key: &ConnectionKey, asked: Instant) {
        let (at, token) = (self.now, self.current.get(key).cloned());
        let begun = BegunBy {
            at,
            asked,
            leased: asked,
            token,
        };
        self.begun.insert((who, key.clone()), begun);
    }

    /// The store has prolonged the lease of `who`.
    pub(crate) fn prolonged(&mut self, who: Who, key: &ConnectionKey, asked: Instant) {
        if let Some(begun) = self.begun.get_mut(&(who, key.clone())) {
            begun.leased = asked;
        }
    }

    /// `who` sends `refresh`. Here is where invariant 1 is held.
    pub(crate) fn sending(&mut self, who: Who, key: &ConnectionKey, refresh: &str) {
        self.counts.add("redemptions", 1);
        self.call(key);
        let Some(begun) = self.begun.get(&(who, key.clone())).cloned() else {
            return self.violate(format!("{who:?} sends {refresh} without a recorded intent"));
        };
        let tainted = self.tainted.contains(key);
        let since = begun.asked;
        let undisturbed = self.undisturbed(who.slot, since);
        let others = self.pairs.get(refresh).map_or(0, |pair| {
            let undisturbed =
                |(other, since): &&(Who, Instant)| self.undisturbed(other.slot, *since);
            pair.sending.iter().filter(undisturbed).count()
        });
        let allowed = 1 + self.mishaps.get(key).copied().unwrap_or(0);
        let lease = self.lease;
        let single_use = self.single_use;
        let Some(pair) = self.pairs.get_mut(refresh) else {
            return self.violate(format!("{who:?} sends {refresh}, which nobody issued"));
        };
        let late = begun.leased + lease < Instant::now();
        let spent = pair.accepted.is_some();
        let known = pair.answered == Some(who);
        let left = pair.left_store.is_some_and(|left| left < begun.at);
        pair.sending.push((who, since));
        pair.again += u64::from(spent);
        let (again, mine) = (pair.again, pair.key == *key);
        let wrong = if !mine {
            Some("which is another user's")
        } else if tainted || !single_use {
            None
        } else if begun.token.as_deref() != Some(refresh) && !left {
            Some("which is not what its intent names")
        } else if spent && known {
            Some("although it has had the answer to it")
        } else if spent && left {
            Some("although the store had gone on before it began")
        } else if spent && late {
            Some("although its lease had run out by its own clock")
        } else if undisturbed && others > 0 {
            Some("while somebody else is sending it")
        } else if again > allowed {
            Some("once more than anything explains")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.violate(format!("{who:?} sends {refresh}, {wrong}"));
        }
    }

    /// One more call for `key`.
    pub(crate) fn call(&mut self, key: &ConnectionKey) {
        let now = Instant::now();
        let sent = self.sent.entry(key.clone()).or_default();
        sent.retain(|at| *at + Duration::from_mins(1) > now);
        sent.push(now);
        let calls = sent.len();
        self.counts
            .max("most calls a minute for one connection", calls as u64);
        if calls > STORM {
            self.violate(format!("{calls} calls in a minute for {key}"));
        }
    }

    pub(crate) fn sent(&mut self, who: Who, refresh: &str) {
        if let Some(pair) = self.pairs.get_mut(refresh) {
            pair.sending.retain(|(other, _)| *other != who);
        }
    }

    pub(crate) fn accepted(&mut self, refresh: &str) {
        let now = self.now;
        if let Some(pair) = self.pairs.get_mut(refresh) {
            pair.accepted.get_or_insert(now);
        }
    }

    /// `who` has the answer to `sent`: `issued`.
    pub(crate) fn delivered(&mut self, who: Who, sent: Option<&str>, issued: &str) {
        let mut excuse = None;
        if let Some(pair) = sent.and_then(|sent| self.pairs.get_mut(sent)) {
            pair.answered = Some(who);
            excuse = pair.excuse;
        }
        if let Some(pair) = self.pairs.get_mut(issued) {
            pair.delivered = Some(who);
            // Minted from a grant that its user had replaced meanwhile: the reconnect wins.
            pair.excuse = pair.excuse.or(excuse);
        }
    }

    pub(crate) fn refused(&mut self, refresh: &str) {
        if let Some(pair) = self.pairs.get_mut(refresh) {
            pair.refused = true;
        }
    }

    /// A process is dead, and its spool perhaps with it.
    pub(crate) fn died(&mut self, who: Who, keeps_spool: bool) {
        for pair in self.pairs.values_mut() {
            let safe = pair.stored || (pair.spooled && keeps_spool);
            if pair.delivered == Some(who) && !safe {
                pair.excuse.get_or_insert("died between the two writes");
            }
            pair.sending.retain(|(other, _)| *other != who);
        }
        for mishaps in self.mishaps.values_mut() {
            *mishaps += 1;
        }
    }

    /// The next process is at `slot`, with `found` in its spool: what its predecessors put there.
    pub(crate) fn inherits(&mut self, slot: usize, found: &[String]) {
        let missing = self.pairs.iter().find(|(token, pair)| {
            let put = pair.spooled && !pair.stored && pair.excuse.is_none();
            put && pair.delivered.is_some_and(|who| who.slot == slot) && !found.contains(token)
        });
        if let Some((token, _)) = missing {
            self.violate(format!("{token} was spooled at {slot}, and is lost"));
        }
    }

    /// Everyone may have to try once more.
    pub(crate) fn trouble(&mut self, keys: &[ConnectionKey]) {
        for key in keys {
            *self.mishaps.entry(key.clone()).or_default() += 1;
        }
    }

    /// The store lost what it had of `key`.
    pub(crate) fn lost(&mut self, key: &ConnectionKey) {
        self.tainted.insert(key.clone());
        for pair in self.pairs.values_mut().filter(|pair| pair.key == *key) {
            pair.excuse.get_or_insert("the store lost it");
        }
    }

    /// `who` has marked `connection`: invariant 7.
    pub(crate) fn marked(&mut self, who: Who, connection: &Connection, reason: ReauthReason) {
        self.counts.add("marked needs-reauth", 1);
        let key = &connection.key;
        let Some(token) = self.current.get(key) else {
            return;
        };
        let Some(pair) = self.pairs.get(token) else {
            return;
        };
        let lost = pair.accepted.is_some() && pair.answered.is_none() && pair.sending.is_empty();
        let wrong = match reason {
            ReauthReason::GrantRefused | ReauthReason::LostRotation | ReauthReason::AccountGone
                if !pair.refused =>
            {
                "which no provider refused"
            }
            ReauthReason::GrantRefused if lost => "although its rotation was lost",
            ReauthReason::NoRefreshToken => "although it has a refresh token",
            _ => return,
        };
        if !self.tainted.contains(key) {
            self.violate(format!(
                "{who:?} marks {key} {reason:?} at {token}, {wrong}"
            ));
        }
    }

    /// Invariant 2, when everything has healed: the newest pair of `key` that anybody had.
    pub(crate) fn newest_is_lost(&self, key: &ConnectionKey) -> Option<String> {
        let had = |pair: &Pair| pair.key == *key && (pair.delivered.is_some() || pair.stored);
        let (token, pair) = self
            .pairs
            .iter()
            .filter(|(_, pair)| had(pair))
            .max_by_key(|(_, pair)| pair.number)?;
        let lost = self.current.get(key) != Some(token) && pair.excuse.is_none();
        lost.then(|| format!("{token} of {key} was issued and delivered, and is lost: {pair:?}"))
    }
}
