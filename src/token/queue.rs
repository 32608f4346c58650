//! Who is renewed next: the renewals of one provider that wait until it may be called.
//!
//! 1. First come, first served, in two lines: those that somebody asks for, and those that are ahead of
//!    their time (a token that is due and still good, a grant that would die of idleness). The first line
//!    goes before the second, but for one turn in twenty: a storm must not let grants die.
//! 2. Whoever waits holds nothing: no lease, no task, a few hundred bytes. Its token may be renewed by a
//!    sibling meanwhile; then it leaves.
//! 3. A turn is a call that may be made now. If none was needed, the turn goes to the next.
//! 4. A renewal whose call was one too many comes back to its place, which is the first.
//! 5. Nobody is told to wait for what takes too long: [`Queue::wait_of`] says when the turn will be, and
//!    whoever waits decides. The renewal keeps its place.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::{
    Config,
    pace::{PLACES, Pace},
    turns::Flying,
};
use crate::{
    base::{
        ids::{ConnectionKey, ProviderName},
        random::{Random, SharedRandom},
    },
    provider::{Headroom, SharedProvider},
};

/// One turn in so many is for what is ahead of its time.
const AHEAD_EVERY: u32 = 20;

/// The number of a place that has gone by: who comes back to it is the first.
const FIRST: i64 = i64::MIN;

/// The renewals of one provider that wait for their turn.
pub(super) struct Queue {
    pub(super) provider: SharedProvider,
    random: SharedRandom,
    /// How many may wait.
    most: usize,
    inner: Mutex<Inner>,
    rung: Notify,
}

struct Inner {
    pace: Pace,
    running: usize,
    lines: [Line; 2],
    /// Turns since one went to the line of those ahead of their time.
    since_ahead: u32,
    /// Only those whose turn comes within this are still taken in.
    closing: Option<Duration>,
    /// Since when requests have been told to come later.
    crowded: Option<Instant>,
}

/// Which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Asked,
    Ahead,
}

/// Places by number, of which the first is `first`. Who left has left its place free.
#[derive(Default)]
struct Line {
    first: i64,
    places: VecDeque<Option<Parked>>,
    waiting: usize,
}

struct Parked {
    flying: Flying,
    since: Instant,
}

/// Where a flight stands. Whoever waits for the flight looks here.
#[derive(Debug, Default)]
pub(super) struct Place {
    stands: Mutex<Stands>,
    /// Rung when that changes.
    told: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stands {
    at: Option<(Which, i64)>,
    /// Where it comes back to.
    back: Option<(Which, i64)>,
    /// Since when it waits, over all its turns.
    since: Option<Instant>,
    is_asked: bool,
}

/// What came of asking for a turn.
pub(super) enum Entered {
    /// It is its turn.
    Go(Flying, Turn),
    /// It waits, and will be launched.
    Waits,
    /// Too many wait, or the process goes down. When it would be its turn.
    Full(Flying, Duration),
}

/// What the queue does next.
pub(super) enum Next {
    Go(Flying, Turn),
    At(Instant),
    /// When somebody comes, or a call ends.
    Rung,
    Empty,
}

/// A call that may be made now. Given back if it is dropped unspent.
pub(super) struct Turn {
    queue: Arc<Queue>,
    spent: AtomicBool,
}

/// How a queue is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose renewals.
    pub provider: ProviderName,
    /// How many wait.
    pub renewals: usize,
    /// Of them, those that somebody has asked for.
    pub asked: usize,
    /// For how long the first has waited.
    pub oldest: Duration,
    /// When it would be the turn of whoever comes now.
    pub turn_in: Duration,
    /// For how long the provider wants to be left alone by everybody.
    pub held: Option<Duration>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(
        provider: SharedProvider,
        config: &Config,
        random: SharedRandom,
    ) -> Arc<Self> {
        let configured = config.token_calls.get(provider.name()).copied();
        let pace = Pace::new(provider.token_limit(), configured, Instant::now());
        Arc::new(Self {
            provider,
            random,
            // Who waits is not forgotten: half of memory is left for the others.
            most: (config.remember / 2).max(1),
            inner: Mutex::new(Inner {
                pace,
                running: 0,
                lines: Default::default(),
                since_ahead: 0,
                closing: None,
                crowded: None,
            }),
            rung: Notify::new(),
        })
    }

    /// Takes a turn for `flying`, or a place in the queue.
    pub(super) fn enter(self: &Arc<Self>, flying: Flying) -> Entered {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let place = Arc::clone(&flying.place);
        let mut stands = place.stands.lock();
        let which = stands.which();
        if inner.is_free(which, now) {
            stands.back = Some((which, FIRST));
            inner.begin(now, self.random());
            return Entered::Go(flying, self.turn());
        }
        let ahead = inner.ahead_of_newcomer(which);
        let wait = inner.pace.wait(ahead, now);
        let back = stands.back.take();
        let too_late = inner.closing.is_some_and(|closing| wait > closing);
        if too_late || (back.is_none() && inner.waiting() >= self.most) {
            return Entered::Full(flying, wait);
        }
        let since = *stands.since.get_or_insert(now);
        let parked = Parked { flying, since };
        stands.at = Some(match back {
            Some((was, number)) if was == which => {
                (which, inner.line(which).put_back(number, parked))
            }
            _ => (which, inner.line(which).push(parked)),
        });
        drop(stands);
        drop(inner);
        place.told.notify_waiters();
        self.rung.notify_one();
        Entered::Waits
    }

    /// What to do now. Whoever calls this does it, and asks again.
    pub(super) fn next(self: &Arc<Self>) -> Next {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        if inner.waiting() == 0 {
            inner.is_quiet(self.provider.name(), now);
            return Next::Empty;
        }
        if inner.running >= PLACES {
            return Next::Rung;
        }
        let ready = inner.pace.ready_at(now);
        if ready > now {
            return Next::At(ready);
        }
        let Some(flying) = inner.pop() else {
            return Next::Empty;
        };
        inner.begin(now, self.random());
        let place = Arc::clone(&flying.place);
        let mut stands = place.stands.lock();
        stands.back = stands.at.take().map(|(which, _)| (which, FIRST));
        drop(stands);
        drop(inner);
        place.told.notify_waiters();
        Next::Go(flying, self.turn())
    }

    /// Rung when [`Queue::next`] may say something else than before.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// How long until the turn of who stands at `place`; `None` if it does not wait. If the caller has
    /// `asked` for it, it is in the first line from now on.
    pub(super) fn wait_of(&self, place: &Place, asked: bool) -> Option<Duration> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let mut stands = place.stands.lock();
        let (which, number) = stands.at?;
        inner.line(which).at(number)?;
        stands.is_asked |= asked;
        let (which, number) = if stands.is_asked && which == Which::Ahead {
            let parked = inner.line(which).take(number)?;
            let moved = (Which::Asked, inner.line(Which::Asked).push(parked));
            stands.at = Some(moved);
            moved
        } else {
            (which, number)
        };
        let ahead = inner.ahead_of(which, number);
        Some(inner.pace.wait(ahead, now))
    }

    /// Takes who stands at `place` out of the queue; it may come back to its place.
    pub(super) fn lift(&self, place: &Place) -> Option<Flying> {
        let mut inner = self.inner.lock();
        let mut stands = place.stands.lock();
        let (which, number) = stands.at.take()?;
        stands.back = Some((which, number));
        let parked = inner.line(which).take(number)?;
        drop(stands);
        drop(inner);
        place.told.notify_waiters();
        Some(parked.flying)
    }

    /// The provider answered, to whatever effect.
    pub(super) fn answered(&self, headroom: Headroom, took: Duration) {
        let mut inner = self.inner.lock();
        inner
            .pace
            .answered(headroom, took, Instant::now(), self.random());
    }

    /// The provider wants fewer calls, and said so to `key`. For how long it is left alone by everybody;
    /// `None` if that is between the two.
    pub(super) fn refused(
        &self,
        key: &ConnectionKey,
        asked: Option<Duration>,
        config: &Config,
    ) -> Option<Duration> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let was_held = inner.pace.held(now).is_some();
        let held = inner.pace.refused(key, asked, config, now, self.random())?;
        let waiting = inner.waiting();
        let places: Vec<_> = inner.places().collect();
        drop(inner);
        // Their turns come later than they were told.
        for place in places {
            place.told.notify_waiters();
        }
        if !was_held {
            tracing::warn!(
                provider = %self.provider.name(), waiting, seconds = held.as_secs(),
                "the provider asks for fewer token calls: it is left alone for a while, and then \
                 called half as fast",
            );
        }
        Some(held)
    }

    /// A request was told to come later.
    pub(super) fn turned_away(&self, wait: Duration) {
        let mut inner = self.inner.lock();
        if inner.crowded.is_none() {
            inner.crowded = Some(Instant::now());
            let waiting = inner.waiting();
            tracing::warn!(
                provider = %self.provider.name(), waiting, seconds = wait.as_secs(),
                "renewals wait for their turn, as the provider takes no more token calls: requests \
                 without a valid token are told when to come again",
            );
        }
    }

    /// The process goes down: only those whose turn comes within `patience` are still renewed. Who waits
    /// for another is told by its flight's end.
    pub(super) fn close(&self, patience: Duration) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.closing = Some(patience);
        let mut left: Vec<_> = inner.line(Which::Ahead).drain_after(0);
        let mut kept = 0;
        while inner.pace.wait(kept, now) <= patience && kept < inner.line(Which::Asked).waiting {
            kept += 1;
        }
        left.extend(inner.line(Which::Asked).drain_after(kept));
        drop(inner);
        drop(left);
        self.rung.notify_one();
    }

    /// How it is doing; `None` while nobody waits.
    pub(super) fn report(&self) -> Option<Waiting> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let renewals = inner.waiting();
        if renewals == 0 {
            return None;
        }
        let newcomer = inner.ahead_of_newcomer(Which::Asked);
        let oldest = [Which::Asked, Which::Ahead]
            .into_iter()
            .filter_map(|which| inner.line(which).oldest())
            .min();
        Some(Waiting {
            provider: self.provider.name().clone(),
            renewals,
            asked: inner.line(Which::Asked).waiting,
            oldest: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            turn_in: inner.pace.wait(newcomer, now),
            held: inner.pace.held(now),
        })
    }

    fn random(&self) -> &dyn Random {
        &*self.random
    }

    fn turn(self: &Arc<Self>) -> Turn {
        Turn {
            queue: Arc::clone(self),
            spent: AtomicBool::new(false),
        }
    }
}

// === impl Inner ===

impl Inner {
    fn line(&mut self, which: Which) -> &mut Line {
        let [asked, ahead] = &mut self.lines;
        match which {
            Which::Asked => asked,
            Which::Ahead => ahead,
        }
    }

    fn waiting(&self) -> usize {
        self.lines.iter().map(|line| line.waiting).sum()
    }

    /// Whether a newcomer to the line can go at once.
    fn is_free(&mut self, which: Which, now: Instant) -> bool {
        self.running < PLACES
            && self.ahead_of_newcomer(which) == 0
            && self.pace.ready_at(now) <= now
    }

    fn ahead_of_newcomer(&mut self, which: Which) -> usize {
        match which {
            Which::Asked => {
                let asked = self.line(Which::Asked).waiting;
                self.with_turns_ahead(asked)
            }
            Which::Ahead => self.waiting(),
        }
    }

    fn ahead_of(&mut self, which: Which, number: i64) -> usize {
        let before = self.line(which).before(number);
        match which {
            Which::Asked => self.with_turns_ahead(before),
            Which::Ahead => self.line(Which::Asked).waiting.saturating_add(before),
        }
    }

    /// So many of the first line, and those of the second that get turns meanwhile.
    fn with_turns_ahead(&mut self, asked: usize) -> usize {
        let every = usize::try_from(AHEAD_EVERY - 1).unwrap_or(usize::MAX);
        let meanwhile = (asked / every).min(self.line(Which::Ahead).waiting);
        asked.saturating_add(meanwhile)
    }

    fn begin(&mut self, now: Instant, random: &dyn Random) {
        self.running += 1;
        let others_wait = self.waiting() > 0;
        self.pace.note_gap(others_wait, now);
        self.pace.take(now, random);
    }

    /// Whose turn it is.
    fn pop(&mut self) -> Option<Flying> {
        let ahead = self.line(Which::Ahead).waiting;
        let asked = self.line(Which::Asked).waiting;
        let is_aheads = asked == 0 || (ahead > 0 && self.since_ahead + 1 >= AHEAD_EVERY);
        self.since_ahead = match (is_aheads, ahead) {
            (true, _) | (_, 0) => 0,
            _ => self.since_ahead + 1,
        };
        let which = if is_aheads {
            Which::Ahead
        } else {
            Which::Asked
        };
        self.line(which).pop().map(|parked| parked.flying)
    }

    fn places(&self) -> impl Iterator<Item = Arc<Place>> {
        let parked = self
            .lines
            .iter()
            .flat_map(|line| line.places.iter().flatten());
        parked.map(|parked| Arc::clone(&parked.flying.place))
    }

    /// Nobody waits any more.
    fn is_quiet(&mut self, provider: &ProviderName, now: Instant) {
        if let Some(since) = self.crowded.take() {
            let seconds = now.saturating_duration_since(since).as_secs();
            tracing::info!(%provider, seconds, "no renewal waits for its turn any more");
        }
    }
}

// === impl Line ===

impl Line {
    fn index(&self, number: i64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn at(&self, number: i64) -> Option<&Parked> {
        self.places.get(self.index(number)?)?.as_ref()
    }

    /// How many may stand before `number`: also those who left, as they may come back.
    fn before(&self, number: i64) -> usize {
        self.index(number).unwrap_or(0).min(self.waiting)
    }

    fn push(&mut self, parked: Parked) -> i64 {
        self.places.push_back(Some(parked));
        self.waiting += 1;
        let last = i64::try_from(self.places.len()).unwrap_or(i64::MAX) - 1;
        self.first.saturating_add(last)
    }

    /// To the place `number`, or if that has gone by, to the first.
    fn put_back(&mut self, number: i64, parked: Parked) -> i64 {
        self.waiting += 1;
        let index = self.index(number);
        match index.and_then(|index| self.places.get_mut(index)) {
            Some(place) if place.is_none() => {
                *place = Some(parked);
                number
            }
            _ => {
                self.places.push_front(Some(parked));
                self.first -= 1;
                self.first
            }
        }
    }

    fn take(&mut self, number: i64) -> Option<Parked> {
        let index = self.index(number)?;
        let parked = self.places.get_mut(index)?.take()?;
        self.waiting -= 1;
        Some(parked)
    }

    fn pop(&mut self) -> Option<Parked> {
        while let Some(place) = self.places.pop_front() {
            self.first += 1;
            if let Some(parked) = place {
                self.waiting -= 1;
                return Some(parked);
            }
        }
        None
    }

    /// Everybody but the first `kept`.
    fn drain_after(&mut self, kept: usize) -> Vec<Parked> {
        let mut left = Vec::new();
        let mut seen = 0;
        for place in &mut self.places {
            if place.is_some() {
                seen += 1;
                if seen > kept {
                    left.extend(place.take());
                }
            }
        }
        self.waiting -= left.len();
        left
    }

    fn oldest(&self) -> Option<Instant> {
        let first = self.places.iter().flatten().next();
        first.map(|parked| parked.since)
    }
}

// === impl Place ===

impl Place {
    /// For a flight that somebody has asked for, or not.
    pub(super) fn new(is_asked: bool) -> Arc<Self> {
        let stands = Stands {
            is_asked,
            ..Stands::default()
        };
        Arc::new(Self {
            stands: Mutex::new(stands),
            told: Arc::default(),
        })
    }

    /// Ends when something changes after this call.
    pub(super) fn told(&self) -> OwnedNotified {
        Arc::clone(&self.told).notified_owned()
    }
}

// === impl Stands ===

impl Stands {
    const fn which(self) -> Which {
        if self.is_asked {
            Which::Asked
        } else {
            Which::Ahead
        }
    }
}

// === impl Turn ===

impl Turn {
    /// The call is made. One more for the same renewal is charged as well, but need not wait.
    pub(super) fn spend(&self) {
        if self.spent.swap(true, Ordering::Relaxed) {
            let mut inner = self.queue.inner.lock();
            inner.pace.take(Instant::now(), self.queue.random());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.queue.inner.lock();
        inner.running = inner.running.saturating_sub(1);
        if !self.spent.load(Ordering::Relaxed) {
            inner.pace.give_back();
        }
        drop(inner);
        self.queue.rung.notify_one();
    }
}
