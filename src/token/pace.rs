//! How fast one provider's token endpoint is called: the arithmetic, without queue or tasks.
//!
//! 1. No minute ever sees more calls than the limit, wherever it begins: a few at once, the others evenly
//!    spread with jitter, and a twentieth is left for calls that are not renewals.
//! 2. Many sidecars may share one address and do not know of each other. So each heeds what answers say is
//!    left: what was used and is not its own tells how many there are, and it takes its part of the rest.
//! 3. A refusal (429) holds everybody back: for as long as the provider says, within bounds, and a little
//!    more; for a minute, which is the window of all known limits, if it says nothing. Then calls come half
//!    as fast as before, and grow back within half an hour. All grow by the same amount in the same time, so
//!    those who share an address come to share its limit.
//! 4. A provider that limits each user for itself has no pace, until it refuses three users with no answer to
//!    anybody in between. It then has the one that it was called with, for half an hour.

use std::time::Duration;

use tokio::time::Instant;

use super::Config;
use crate::{
    base::{backoff::Backoff, ids::ConnectionKey, random::Random},
    provider::{Headroom, TokenLimit},
};

const MINUTE: Duration = Duration::from_mins(1);

/// In which time the pace grows from nothing to all that is allowed.
const GROWTH: Duration = Duration::from_mins(30);

/// The slowest pace is this part of the full one. More sidecars than that behind one address, whose
/// provider tells nothing but refusals, are slowed by how long each of those holds them back.
const SLOWEST: u32 = 16;

/// When so many users are refused with no answer to anybody in between, it is no longer about each of them.
const TOO_MANY: usize = 3;

/// A pace that is learned is no slower than so many calls a minute.
const LEAST: u32 = 30;

/// What lies between two turns counts up to this for what those who come are told.
const LONG_GAP: Duration = Duration::from_secs(5);

/// How many calls are under way at once, at most.
pub(super) const PLACES: usize = 64;

/// The pace of one provider.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Option<Limit>,
    /// Whether answers to one user speak for all.
    is_shared: bool,
    held_until: Option<Instant>,
    /// In a row.
    refusals: u32,
    /// Who was refused since the last answer, where limits are each user's own; no more than it takes.
    refused: Vec<ConnectionKey>,
    /// How many calls began in this minute and in the one before.
    counted: (Instant, u32, u32),
    /// How long a call takes of late.
    took: Duration,
    /// When the last call began, if others waited then, and what lies between two of late.
    last: Option<Instant>,
    gap: Duration,
    window: Window,
}

/// The provider's present window, as its answers tell of it.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// What was left at last.
    left: u32,
    /// How many answers came here.
    mine: u32,
    /// How many sidecars the limit seems to be shared by.
    sharers: u32,
}

/// What is kept to: between two calls lies `interval`, except that some may be made in advance.
#[derive(Clone, Copy, Debug)]
struct Limit {
    per_minute: u32,
    /// What is aimed at.
    shortest: Duration,
    /// What is kept to just now.
    interval: Duration,
    /// How many calls may come at once.
    burst: u32,
    /// When the next call would be due if none came in advance.
    next: Instant,
    /// When the interval was last shortened.
    grown: Instant,
    /// Until when it is kept to, if the provider has told of none.
    until: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// The pace for `limit`, or for `configured` calls a minute: zero is no limit.
    pub(super) fn new(limit: TokenLimit, configured: Option<u32>, now: Instant) -> Self {
        let (documented, is_shared) = match limit {
            TokenLimit::PerUser => (0, false),
            TokenLimit::Shared { per_minute } => (per_minute, true),
        };
        let per_minute = configured.unwrap_or(documented);
        Self {
            limit: (per_minute > 0).then(|| Limit::of(per_minute, now)),
            is_shared,
            held_until: None,
            refusals: 0,
            refused: Vec::new(),
            counted: (now, 0, 0),
            took: Duration::ZERO,
            last: None,
            gap: Duration::ZERO,
            window: Window::default(),
        }
    }

    /// When the next call may be made; not after `now` if it may be made at once.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let paced = self.limit.map_or(now, |limit| {
            limit.next.checked_sub(limit.advance()).unwrap_or(now)
        });
        self.held_until.map_or(paced, |held| held.max(paced))
    }

    /// A call is about to be made.
    pub(super) fn take(&mut self, now: Instant, random: &dyn Random) {
        self.count(now);
        if let Some(limit) = &mut self.limit {
            // Between three and five quarters.
            let step = limit.interval / 4 * 3 + random.up_to(limit.interval / 2);
            limit.next = limit.next.max(now) + step;
        }
    }

    /// A call begins while others wait, or not. Whatever makes turns come more slowly than they may, such as
    /// siblings behind the same address, is part of what is told to those who come.
    pub(super) fn note_gap(&mut self, others_wait: bool, now: Instant) {
        if let Some(last) = self.last {
            // A hold is told of by itself.
            let gap = now.saturating_duration_since(last).min(LONG_GAP);
            self.gap = self.gap / 64 * 63 + gap / 64;
        }
        self.last = others_wait.then_some(now);
        if !others_wait {
            self.gap = Duration::ZERO;
        }
    }

    /// A call that was about to be made was not.
    pub(super) fn give_back(&mut self) {
        self.counted.1 = self.counted.1.saturating_sub(1);
        if let Some(limit) = &mut self.limit {
            let before = limit.next.checked_sub(limit.interval);
            limit.next = before.unwrap_or(limit.next);
        }
    }

    /// How long it is until the call that has `ahead` others before it.
    pub(super) fn wait(&self, ahead: usize, now: Instant) -> Duration {
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let places = u32::try_from(PLACES).unwrap_or(u32::MAX);
        let paced = self
            .limit
            .map_or(Duration::ZERO, |limit| limit.time_for(ahead));
        let one_by_one = (self.took / places).saturating_mul(ahead);
        let of_late = self.gap.saturating_mul(ahead);
        let first = self.ready_at(now).saturating_duration_since(now);
        first.saturating_add(paced.max(one_by_one).max(of_late))
    }

    /// A call took so long, and was not refused for being one too many.
    pub(super) fn answered(
        &mut self,
        headroom: Headroom,
        took: Duration,
        now: Instant,
        random: &dyn Random,
    ) {
        self.refusals = 0;
        self.refused.clear();
        self.took = self.took / 8 * 7 + took / 8;
        self.held_until = self.held_until.filter(|held| *held > now);
        let is_over = |limit: &Limit| limit.until.is_some_and(|until| until <= now);
        self.limit = self.limit.filter(|limit| !is_over(limit));
        if let Some(limit) = &mut self.limit {
            limit.grow(now);
        }
        if self.is_shared {
            self.heed(headroom, now, random);
        }
    }

    /// What is left is for all who share the address, to equal parts.
    fn heed(&mut self, headroom: Headroom, now: Instant, random: &dyn Random) {
        let (Some(remaining), Some(resets_in)) = (headroom.remaining, headroom.resets_in) else {
            return;
        };
        let resets_in = resets_in.min(MINUTE);
        let sharers = match &self.limit {
            Some(limit) => self.window.sharers(limit.per_minute, remaining),
            None => 1,
        };
        if remaining == 0 || (sharers > 1 && remaining < sharers.saturating_mul(2)) {
            // Others wait for the same moment.
            self.hold_until(now + resets_in + random.up_to(resets_in / 10));
        } else if let Some(limit) = &mut self.limit {
            let share = resets_in.saturating_mul(sharers) / remaining.saturating_add(1);
            if share > limit.shortest {
                let jittered = share / 4 * 3 + random.up_to(share / 2);
                limit.next = limit.next.max(now + jittered + limit.advance());
            }
        }
    }

    /// A call for `key` was one too many. `asked` is what the provider said. For how long everybody is held
    /// back; `None` if that is between this user and the provider.
    pub(super) fn refused(
        &mut self,
        key: &ConnectionKey,
        asked: Option<Duration>,
        config: &Config,
        now: Instant,
        random: &dyn Random,
    ) -> Option<Duration> {
        if !self.is_shared && self.held(now).is_none() {
            if !self.refused.contains(key) && self.refused.len() < TOO_MANY {
                self.refused.push(key.clone());
            }
            if self.refused.len() < TOO_MANY {
                return None;
            }
        }
        // Calls that were under way together are refused together: that is one refusal.
        if let Some(held) = self.held_until.filter(|held| *held > now) {
            return Some(held.saturating_duration_since(now));
        }
        self.refusals = self.refusals.saturating_add(1);
        let growth = Backoff {
            first: config.cooldown,
            max: config.cooldown_max,
        };
        let own = growth.after(self.refusals, random);
        let asked = asked
            .unwrap_or(MINUTE)
            .clamp(config.cooldown, config.cooldown_max);
        let asked = asked.saturating_add(random.up_to(config.cooldown));
        let wait = asked.max(own).min(config.cooldown_max);
        let lately = self.counted.1.saturating_add(self.counted.2);
        let limit = self.limit.get_or_insert_with(|| Limit {
            until: Some(now + GROWTH),
            ..Limit::of(lately.max(LEAST), now)
        });
        limit.slow_down(now + wait);
        self.hold_until(now + wait);
        Some(wait)
    }

    /// Nothing is saved up meanwhile: those who share the address would all spend it at once.
    fn hold_until(&mut self, until: Instant) {
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
        if let Some(limit) = &mut self.limit {
            limit.next = limit.next.max(until + limit.advance());
        }
    }

    /// How long everybody is held back.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        let left = self.held_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn count(&mut self, now: Instant) {
        let (since, this, _) = self.counted;
        let passed = now.saturating_duration_since(since);
        if passed >= MINUTE {
            let before = if passed < MINUTE * 2 { this } else { 0 };
            self.counted = (now, 0, before);
        }
        self.counted.1 = self.counted.1.saturating_add(1);
    }
}

// === impl Window ===

impl Window {
    /// How many sidecars share the limit, after one more answer.
    fn sharers(&mut self, per_minute: u32, left: u32) -> u32 {
        if left > self.left {
            self.mine = 0;
        }
        self.left = left;
        self.mine = self.mine.saturating_add(1);
        // One or two answers say little: then it is as many as before.
        if self.mine >= 3 {
            let used = per_minute.saturating_sub(left);
            self.sharers = (used.saturating_add(self.mine / 2)) / self.mine;
        }
        self.sharers = self.sharers.max(1);
        self.sharers
    }
}

// === impl Limit ===

impl Limit {
    /// So that no minute has more than nineteen twentieths of `per_minute`.
    fn of(per_minute: u32, now: Instant) -> Self {
        let per_minute = per_minute.max(1);
        let burst = (per_minute / 12).max(1);
        let spread = (per_minute.saturating_mul(95) / 100)
            .saturating_sub(burst)
            .max(1);
        let shortest = MINUTE / spread;
        Self {
            per_minute,
            shortest,
            interval: shortest,
            burst,
            next: now,
            grown: now,
            until: None,
        }
    }

    /// How far ahead of their time calls may come.
    fn advance(&self) -> Duration {
        // A slow pace has no room for a burst at the full one.
        let fits = self.interval <= self.shortest.saturating_mul(2);
        let burst = if fits { self.burst } else { 1 };
        self.interval.saturating_mul(burst.saturating_sub(1))
    }

    /// How long so many calls take, growth of the pace included.
    fn time_for(&self, calls: u32) -> Duration {
        let at_full = self.shortest.saturating_mul(calls);
        if self.interval <= self.shortest {
            return at_full;
        }
        let (calls, shortest) = (f64::from(calls), self.shortest.as_secs_f64());
        let (now, full) = (1.0 / self.interval.as_secs_f64(), 1.0 / shortest);
        let growth = full / GROWTH.as_secs_f64();
        let until_full = (full - now) / growth;
        let until_full_calls = f64::midpoint(now, full) * until_full;
        let secs = if calls < until_full_calls {
            ((now * now + 2.0 * growth * calls).sqrt() - now) / growth
        } else {
            until_full + (calls - until_full_calls) * shortest
        };
        Duration::try_from_secs_f64(secs).unwrap_or(at_full)
    }

    /// Halves the pace, which grows again from `until` on.
    fn slow_down(&mut self, until: Instant) {
        let longest = self.shortest.saturating_mul(SLOWEST);
        self.interval = self.interval.saturating_mul(2).min(longest);
        self.grown = until;
    }

    /// By the same number of calls in the same time, whatever the pace.
    fn grow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.grown);
        self.grown = self.grown.max(now);
        if self.interval <= self.shortest {
            return;
        }
        let shortest = self.shortest.as_secs_f64();
        let calls = 1.0 / self.interval.as_secs_f64()
            + passed.as_secs_f64() / GROWTH.as_secs_f64() / shortest;
        let interval = Duration::try_from_secs_f64(1.0 / calls).unwrap_or(self.interval);
        self.interval = interval.max(self.shortest);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;
    use crate::base::random::SeededRandom;

    const LIMIT: TokenLimit = TokenLimit::Shared { per_minute: 120 };

    fn pace() -> Pace {
        Pace::new(LIMIT, None, Instant::now())
    }

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey {
            provider: "calcom".parse().unwrap(),
            user: user.parse().unwrap(),
        }
    }

    /// Calls as fast as is allowed for so long; when each was made.
    async fn rush(pace: &mut Pace, long: Duration) -> Vec<Instant> {
        let (random, start) = (SeededRandom::new(1), Instant::now());
        let mut made = Vec::new();
        while Instant::now() < start + long {
            sleep_until(pace.ready_at(Instant::now())).await;
            pace.take(Instant::now(), &random);
            made.push(Instant::now());
        }
        made
    }

    fn refuse(pace: &mut Pace, user: &str, asked: u64) -> Option<Duration> {
        let asked = Some(Duration::from_secs(asked));
        let (config, random) = (Config::default(), SeededRandom::new(2));
        pace.refused(&key(user), asked, &config, Instant::now(), &random)
    }

    fn answer(pace: &mut Pace, remaining: Option<u32>, secs: u64) {
        let headroom = Headroom {
            remaining,
            resets_in: Some(Duration::from_secs(secs)),
        };
        let now = Instant::now();
        pace.answered(headroom, Duration::ZERO, now, &SeededRandom::new(3));
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_calls_than_the_limit_and_few_less() {
        let made = rush(&mut pace(), Duration::from_mins(30)).await;
        let most = made.iter().enumerate().map(|(nth, at)| {
            made.iter()
                .skip(nth)
                .filter(|it| **it < *at + MINUTE)
                .count()
        });
        let most = most.max().unwrap();
        assert!((110..=120).contains(&most), "{most} in a minute");
        assert!((3_000..=3_300).contains(&made.len()), "{}", made.len());
        let at_once = made.iter().filter(|at| **at == made[0]).count();
        assert!((9..=11).contains(&at_once), "{at_once}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_not_made_is_not_missed() {
        let (mut pace, random) = (pace(), SeededRandom::new(1));
        for _ in 0..1_000 {
            assert!(pace.ready_at(Instant::now()) <= Instant::now());
            pace.take(Instant::now(), &random);
            pace.give_back();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_refusal_holds_all_back_and_halves_the_pace_which_grows_again() {
        let mut pace = pace();
        rush(&mut pace, MINUTE).await;
        let held = refuse(&mut pace, "anna", 60).unwrap();
        assert!((60..=65).contains(&held.as_secs()), "{held:?}");
        // What was under way with it changes nothing.
        assert_eq!(refuse(&mut pace, "ben", 60), Some(held));
        let resumed = pace.ready_at(Instant::now());
        assert_eq!(resumed, Instant::now() + held);
        advance(held).await;
        let slow = rush(&mut pace, MINUTE).await.len();
        assert!((48..=58).contains(&slow), "{slow} in the minute after");
        for _ in 0..30 {
            answer(&mut pace, None, 0);
            advance(MINUTE).await;
        }
        answer(&mut pace, None, 0);
        let again = rush(&mut pace, MINUTE).await.len();
        assert!(again >= 104, "{again} after half an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_refuses_again_and_again_is_asked_less_and_less() {
        let mut pace = pace();
        let mut calls = 0;
        let start = Instant::now();
        while Instant::now() < start + Duration::from_mins(30) {
            sleep_until(pace.ready_at(Instant::now())).await;
            pace.take(Instant::now(), &SeededRandom::new(calls));
            refuse(&mut pace, "anna", 1).unwrap();
            calls += 1;
        }
        assert!((8..=16).contains(&calls), "{calls} in half an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_for_all_is_never_used_up() {
        // Ten sidecars behind one address, whose windows of a minute are counted by the provider.
        let mut paces: Vec<_> = (0..10).map(|_| pace()).collect();
        let (mut used, mut window, mut refused) = (0_u32, Instant::now(), 0);
        let end = Instant::now() + Duration::from_mins(20);
        let mut done = 0;
        while Instant::now() < end {
            let now = Instant::now();
            let soonest = paces
                .iter_mut()
                .min_by_key(|pace| pace.ready_at(now))
                .unwrap();
            sleep_until(soonest.ready_at(now)).await;
            let now = Instant::now();
            if now >= window + MINUTE {
                (used, window) = (0, now);
            }
            soonest.take(now, &SeededRandom::new(u64::from(used)));
            if used >= 120 {
                refused += 1;
                refuse(soonest, "anna", 60);
                continue;
            }
            used += 1;
            done += 1;
            let left = (window + MINUTE).saturating_duration_since(now);
            let headroom = Headroom {
                remaining: Some(120 - used),
                resets_in: Some(left),
            };
            soonest.answered(headroom, Duration::ZERO, now, &SeededRandom::new(done));
        }
        assert_eq!(refused, 0);
        assert!((1_600..=2_400).contains(&done), "{done} of 2,400");
    }

    #[tokio::test(start_paused = true)]
    async fn where_each_user_has_a_limit_it_takes_three_of_them_to_hold_all_back() {
        let mut pace = Pace::new(TokenLimit::PerUser, None, Instant::now());
        for _ in 0..600 {
            pace.take(Instant::now(), &SeededRandom::new(1));
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(refuse(&mut pace, "anna", 60), None);
        assert_eq!(refuse(&mut pace, "anna", 60), None);
        answer(&mut pace, Some(0), 60);
        assert!(pace.ready_at(Instant::now()) <= Instant::now(), "its own");
        for user in ["anna", "ben", "anna", "ben"] {
            assert_eq!(refuse(&mut pace, user, 60), None);
        }
        let held = refuse(&mut pace, "carl", 60).unwrap();
        advance(held).await;
        let calls = rush(&mut pace, MINUTE).await.len();
        assert!((200..=330).contains(&calls), "{calls}: half of what it was");
        advance(GROWTH).await;
        answer(&mut pace, None, 0);
        assert!(pace.limit.is_none(), "forgotten when nothing came of it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_anybody_in_between_says_that_it_is_about_each_of_them() {
        let mut pace = Pace::new(TokenLimit::PerUser, None, Instant::now());
        for users in [["anna", "ben"], ["carl", "dora"]] {
            for user in users {
                assert_eq!(refuse(&mut pace, user, 60), None);
            }
            answer(&mut pace, None, 0);
        }
        for user in ["emil", "frieda"] {
            assert_eq!(refuse(&mut pace, user, 60), None);
        }
        assert!(refuse(&mut pace, "gustav", 60).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_lasts_as_long_as_it_says_or_a_minute_and_ends_for_no_two_together() {
        let now = Instant::now();
        for (asked, least) in [(Some(100), 100), (None, 60)] {
            let held = (0..20).map(|seed| {
                let (mut pace, random) = (pace(), SeededRandom::new(seed));
                let asked = asked.map(Duration::from_secs);
                let held = pace.refused(&key("anna"), asked, &Config::default(), now, &random);
                held.unwrap().as_secs_f64() - f64::from(least)
            });
            let mut more: Vec<_> = held.collect();
            more.sort_by(f64::total_cmp);
            assert!(more[0] >= 0.0 && more[19] <= 5.0, "{more:?}");
            assert!(more[19] - more[0] > 2.5, "{more:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_spread_and_none_is_at_a_moment_that_could_be_foreseen() {
        let made = rush(&mut pace(), Duration::from_mins(5)).await;
        // The first are those that may come at once.
        let gaps = made.windows(2).skip(12);
        let mut gaps: Vec<_> = gaps.map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        gaps.sort_unstable();
        // 576 ms, and a quarter of that either way.
        assert!((430..470).contains(&gaps[0]), "{gaps:?}");
        assert!((680..722).contains(&gaps[gaps.len() - 1]), "{gaps:?}");
    }
}
