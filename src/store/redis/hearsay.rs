//! What was heard of changes since the last look at the log.
//!
//! Looking is what costs, when thousands of processes are told of each change: so whoever stands where
//! the last look ended is told what was heard since, without another look. The next look counts what
//! the log has against what was heard, and tells what was missed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{base::ids::ConnectionKey, store::Cursor};

/// What one process has heard.
#[derive(Debug)]
pub(super) struct Hearsay {
    keep: usize,
    since: Mutex<Since>,
}

#[derive(Debug, Default)]
struct Since {
    /// Where the last look ended, and when it began; nothing if some may have been missed since.
    look: Option<(Cursor, Instant)>,
    /// How often some may have been missed.
    era: u64,
    /// Heard and not told yet, in order.
    waiting: Vec<ConnectionKey>,
    /// How often each was heard of.
    heard: HashMap<ConnectionKey, usize>,
}

/// A look at the log that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    begun: Instant,
    era: u64,
}

// === impl Hearsay ===

impl Hearsay {
    /// Remembers up to `keep` changes; beyond that the log has to be looked at.
    pub(super) fn new(keep: u32) -> Self {
        Self {
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
            since: Mutex::default(),
        }
    }

    /// A change of `key` was heard of.
    pub(super) fn hear(&self, key: ConnectionKey) {
        self.since.lock().hear(key, self.keep);
    }

    /// Nothing that was heard counts any more: some of it may have been missed.
    pub(super) fn forget(&self) {
        self.since.lock().forget();
    }

    /// What was heard after `cursor`, each key once; `None` if only the log can tell, also when it was
    /// last looked at longer than `trust` ago.
    pub(super) fn after(&self, cursor: Cursor, trust: Duration) -> Option<Vec<ConnectionKey>> {
        let mut since = self.since.lock();
        let (end, looked) = since.look?;
        if end != cursor || Instant::now().saturating_duration_since(looked) >= trust {
            return None;
        }
        let mut met = HashSet::new();
        let waiting = std::mem::take(&mut since.waiting).into_iter();
        Some(waiting.filter(|key| met.insert(key.clone())).collect())
    }

    /// How long until the log has to be looked at again.
    pub(super) fn until_look(&self, trust: Duration) -> Duration {
        let look = self.since.lock().look;
        look.map_or(Duration::ZERO, |(_, looked)| {
            trust.saturating_sub(Instant::now().saturating_duration_since(looked))
        })
    }

    /// A look at the log begins.
    pub(super) fn look(&self) -> Look {
        let era = self.since.lock().era;
        let begun = Instant::now();
        Look { begun, era }
    }

    /// The look found `entries`, the last at `end`: those of them that were not told. From here on,
    /// what is heard comes after them.
    pub(super) fn looked(
        &self,
        look: Look,
        end: Cursor,
        entries: &[ConnectionKey],
    ) -> Vec<ConnectionKey> {
        let mut since = self.since.lock();
        since.look = (look.era == since.era).then_some((end, look.begun));
        let waiting = std::mem::take(&mut since.waiting);
        let heard = std::mem::take(&mut since.heard);
        // How often each was found, less how often it was told.
        let mut news: HashMap<&ConnectionKey, isize> = HashMap::new();
        let all = entries.iter().map(|key| (key, 1));
        let told = heard.iter().map(|(key, count)| (key, -signed(*count)));
        let not_told = waiting.iter().map(|key| (key, 1));
        for (key, change) in all.chain(told).chain(not_told) {
            *news.entry(key).or_default() += change;
        }
        let is_news = |key: &&ConnectionKey| news.get(key).is_some_and(|count| *count > 0);
        let found = entries.iter().filter(is_news).cloned().collect();
        // Heard while the look was under way, and too late to be found by it.
        for key in &waiting {
            let left = news.entry(key).or_default();
            if *left > 0 {
                *left -= 1;
            } else {
                since.hear(key.clone(), self.keep);
            }
        }
        found
    }
}

// === impl Since ===

impl Since {
    fn hear(&mut self, key: ConnectionKey, keep: usize) {
        if self.waiting.len() >= keep || self.heard.len() >= keep {
            return self.forget();
        }
        *self.heard.entry(key.clone()).or_default() += 1;
        self.waiting.push(key);
    }

    fn forget(&mut self) {
        *self = Self {
            era: self.era + 1,
            ..Self::default()
        };
    }
}

fn signed(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{ProviderName, UserId};

    const TRUST: Duration = Duration::from_secs(10);

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: UserId::parse(user).unwrap(),
        }
    }

    /// What is told after a look that ended at 1 and found nothing.
    fn looked() -> Hearsay {
        let hearsay = Hearsay::new(3);
        let none = hearsay.looked(hearsay.look(), Cursor(1), &[]);
        assert!(none.is_empty());
        hearsay
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_is_told_once_to_who_stands_where_the_look_ended() {
        let hearsay = looked();
        for user in ["a", "b", "a"] {
            hearsay.hear(key(user));
        }
        assert_eq!(hearsay.after(Cursor(0), TRUST), None);
        let told = hearsay.after(Cursor(1), TRUST);
        assert_eq!(told, Some(vec![key("a"), key("b")]));
        assert_eq!(hearsay.after(Cursor(1), TRUST), Some(Vec::new()));
        tokio::time::advance(TRUST).await;
        assert_eq!(hearsay.after(Cursor(1), TRUST), None, "it is time to look");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_tells_what_was_not_heard_and_not_again_what_was() {
        let hearsay = looked();
        hearsay.hear(key("heard"));
        hearsay.hear(key("twice"));
        hearsay.after(Cursor(1), TRUST).unwrap();
        hearsay.hear(key("waiting"));
        // The second message of one was lost, and the only one of another.
        let log = ["heard", "twice", "lost", "twice", "waiting"].map(key);
        let news = hearsay.looked(hearsay.look(), Cursor(6), &log);
        assert_eq!(news, ["twice", "lost", "twice", "waiting"].map(key));
        assert_eq!(hearsay.after(Cursor(6), TRUST), Some(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_while_the_log_is_looked_at_is_told_after_it() {
        let hearsay = looked();
        hearsay.hear(key("a"));
        hearsay.after(Cursor(1), TRUST).unwrap();
        // One more change of the same, which the look came too early for.
        hearsay.hear(key("a"));
        let news = hearsay.looked(hearsay.look(), Cursor(2), &[key("a")]);
        assert!(news.is_empty());
        assert_eq!(hearsay.after(Cursor(2), TRUST), Some(vec![key("a")]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_during_the_first_look_is_not_lost() {
        let hearsay = Hearsay::new(3);
        let look = hearsay.look();
        hearsay.hear(key("a"));
        assert!(hearsay.looked(look, Cursor(1), &[]).is_empty());
        assert_eq!(hearsay.after(Cursor(1), TRUST), Some(vec![key("a")]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_during_which_some_may_have_been_missed_ends_nowhere() {
        let hearsay = looked();
        let look = hearsay.look();
        hearsay.forget();
        hearsay.looked(look, Cursor(2), &[]);
        assert_eq!(hearsay.after(Cursor(2), TRUST), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_heard_too_much_or_may_have_missed_some_has_to_look() {
        let hearsay = looked();
        for user in ["a", "b", "c", "d"] {
            hearsay.hear(key(user));
        }
        assert_eq!(hearsay.after(Cursor(1), TRUST), None);
        let hearsay = looked();
        hearsay.forget();
        assert_eq!(hearsay.after(Cursor(1), TRUST), None);
        assert_eq!(hearsay.until_look(TRUST), Duration::ZERO);
    }
}
