//! The worker: claims syncs that are due and reads them page by page.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    Inner,
    state::{Run, State},
};
use crate::{
    base::{
        backoff::Backoff,
        ids::{ConnectionKey, OwnerId},
    },
    meeting::Told,
    provider::{self, Account, ApiError, Headroom, Meetings, Page, Window},
    store::{self, Job, JobKind, Status, Upserted},
    token::{WithTokenError, account_of, with_token},
};

/// How often due syncs are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// How long a sync is claimed; kept with every page.
const CLAIM: Duration = Duration::from_mins(2);

/// How many are worked on at once.
const AT_ONCE: usize = 4;

/// How often what webhooks may have missed is looked for.
const RECONCILE: Duration = Duration::from_hours(6);

/// Clocks differ, and a change may become visible a little after its time (Cal.com, sync reads).
const OVERLAP: Duration = Duration::from_mins(10);

/// With fewer calls left than this in the provider's window, the rest is left to the app.
const LEAVE: u32 = 20;

/// How many calls a meeting takes that a page tells only in part: itself, and its people (Calendly).
const CALLS_A_MEETING: u32 = 2;

/// How many meetings are read whole between two renewals of the claim, which has to outlast them where a
/// call takes a second.
const IN_A_ROW: usize = 40;

/// How long to rest where the provider does not say.
const REST: Duration = Duration::from_mins(1);

const AFTER_FAILURES: Backoff = Backoff {
    first: Duration::from_secs(15),
    max: Duration::from_hours(1),
};

/// How often meetings that are long over are forgotten.
const FORGET_EVERY: Duration = Duration::from_hours(6);

/// How many are forgotten at a time.
const PORTION: usize = 500;

/// What a run comes to.
enum Ended {
    /// All was read.
    Complete,
    /// To be gone on with after this long.
    Later(Duration),
    /// Another process goes on with it.
    Lost,
}

/// Works for ever.
pub(super) async fn work(inner: Arc<Inner>) {
    let owner = OwnerId::random(&*inner.random);
    loop {
        let claimed = inner
            .store
            .claim(JobKind::Sync, owner, CLAIM, AT_ONCE)
            .await;
        let jobs = match claimed {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store cannot be asked for syncs",
                );
                Vec::new()
            }
        };
        let idle = jobs.len() < AT_ONCE;
        let work = jobs.into_iter().map(|job| sync(&inner, owner, job));
        futures_util::future::join_all(work).await;
        if idle {
            let wait = LOOK / 2 + inner.random.up_to(LOOK);
            let _asked = timeout(wait, inner.asked.notified()).await;
        }
    }
}

/// Forgets meetings that ended before the window, for ever.
pub(super) async fn forget_old(inner: Arc<Inner>) {
    let full = u64::try_from(PORTION).unwrap_or(u64::MAX);
    loop {
        sleep(FORGET_EVERY / 2 + inner.random.up_to(FORGET_EVERY)).await;
        let ended = inner.clock.now().saturating_sub(inner.config.sync_past);
        loop {
            match inner.archive.prune(ended, PORTION).await {
                Ok(gone) if gone >= full => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "old meetings could not be forgotten",
                    );
                    break;
                }
            }
        }
    }
}

async fn sync(inner: &Arc<Inner>, owner: OwnerId, job: Job) {
    let key = job.key.clone();
    if let Err(error) = inner.sync(owner, job).await {
        tracing::warn!(
            provider = %key.provider, user = %key.user,
            error = &error as &dyn std::error::Error,
            "a sync was interrupted by the store; it goes on where it was",
        );
    }
}

// === impl Inner ===

impl Inner {
    async fn sync(&self, owner: OwnerId, job: Job) -> Result<(), store::Error> {
        let key = job.key;
        let state = self.states.open(&key, job.state.as_ref())?;
        let connection = self.store.load(&key).await?;
        let active = connection.filter(|found| found.status == Status::Active);
        let (Some(connection), Some(meetings)) = (active, self.meetings(&key)) else {
            // Whoever connects asks for it again.
            return self.rest(&key, owner, state.as_ref(), None).await;
        };
        let account = account_of(&connection);
        let mut state = state
            .filter(|state| state.connection == connection.id && state.account == account.key())
            .unwrap_or_else(|| State::new(connection.id, account.key()));
        let outcome = self
            .read_all(&key, owner, meetings, &account, &mut state)
            .await;
        match outcome {
            Ok(Ended::Lost) => Ok(()),
            Ok(Ended::Complete) => self.complete(&key, owner, state).await,
            Ok(Ended::Later(rest)) => self.rest(&key, owner, Some(&state), Some(rest)).await,
            Err(Interrupted::Store(error)) => Err(error),
            Err(Interrupted::Provider(error)) => self.failed(&key, owner, state, &error).await,
        }
    }

    async fn read_all(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        meetings: &dyn Meetings,
        account: &Account,
        state: &mut State,
    ) -> Result<Ended, Interrupted> {
        let mut run = match state.run.take() {
            Some(run) => run,
            None => Run::new(self.window(state), self.clock.now()),
        };
        loop {
            let page = self.page(key, meetings, account, &mut run).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    state.run = Some(run);
                    return Err(error.into());
                }
            };
            let kept = match self.keep(key, meetings, &page, &mut run).await {
                Ok(kept) => kept,
                Err(error) => {
                    state.run = Some(run);
                    return Err(error);
                }
            };
            state.failures = 0;
            state.last_error = None;
            // Of a page that is not done the rest is read when it is read again.
            if !kept.is_cut {
                run.pages += 1;
                run.read += u64::try_from(page.meetings.len()).unwrap_or(0);
                run.cursor = page.next;
            }
            state.run = Some(run.clone());
            if !kept.is_cut && run.cursor.is_none() {
                return Ok(Ended::Complete);
            }
            let sealed = self.states.seal(key, state);
            let held = self
                .store
                .progress(JobKind::Sync, key, owner, Some(sealed), CLAIM)
                .await?;
            if !held {
                return Ok(Ended::Lost);
            }
            if kept.left.is_some_and(is_short) {
                return Ok(Ended::Later(rest_of(page.headroom)));
            }
        }
    }

    fn window(&self, state: &State) -> Window {
        let mut window = Window::around(
            self.clock.now(),
            self.config.sync_past,
            self.config.sync_future,
        );
        window.changed_since = state
            .complete_since
            .map(|since| since.saturating_sub(OVERLAP));
        window
    }

    /// The next page; from the beginning if the provider no longer takes the cursor, once.
    async fn page(
        &self,
        key: &ConnectionKey,
        meetings: &dyn Meetings,
        account: &Account,
        run: &mut Run,
    ) -> Result<Page, WithTokenError> {
        let window = run.window();
        let cursor = run.cursor.clone();
        let (window, cursor) = (&window, cursor.as_ref());
        let read = with_token(&*self.tokens, key, |token| async move {
            meetings.page(&token, account, window, cursor).await
        });
        match read.await {
            Err(WithTokenError::Api(ApiError::Rejected { .. }))
                if cursor.is_some() && !run.restarted =>
            {
                run.restarted = true;
                run.cursor = None;
                with_token(&*self.tokens, key, |token| async move {
                    meetings.page(&token, account, window, None).await
                })
                .await
            }
            other => other,
        }
    }

    /// Keeps a page, and reads whole what it tells only in part and was not read whole before, as far as
    /// the provider's limits allow.
    async fn keep(
        &self,
        key: &ConnectionKey,
        meetings: &dyn Meetings,
        page: &Page,
        run: &mut Run,
    ) -> Result<KeptPage, Interrupted> {
        let told = if meetings.pages_are_complete() {
            Told::Whole
        } else {
            Told::Partly
        };
        let kept = self.archive.keep(key, &page.meetings, told).await?;
        let news = kept.iter().filter(|kept| kept.upserted != Upserted::Stands);
        run.changed += u64::try_from(news.count()).unwrap_or(0);
        let mut of_page = KeptPage {
            left: page.headroom.remaining,
            is_cut: false,
        };
        let lacking = page.meetings.iter().zip(&kept);
        let lacking = lacking.filter(|(_, kept)| !kept.is_whole);
        for (nth, (meeting, _)) in lacking.enumerate() {
            // One at least, or it would never end.
            if nth == IN_A_ROW || (nth > 0 && of_page.left.is_some_and(is_short)) {
                of_page.is_cut = true;
                return Ok(of_page);
            }
            self.read_whole(key, meetings, meeting).await?;
            of_page.left = of_page
                .left
                .map(|left| left.saturating_sub(CALLS_A_MEETING));
        }
        Ok(of_page)
    }

    async fn read_whole(
        &self,
        key: &ConnectionKey,
        meetings: &dyn Meetings,
        meeting: &provider::Meeting,
    ) -> Result<(), Interrupted> {
        let id = meeting.id.as_str();
        let fetching = with_token(&*self.tokens, key, |token| async move {
            meetings.fetch(&token, id).await
        });
        let whole = match fetching.await {
            Ok(whole) => whole,
            // Gone between the two questions: there is no more to know.
            Err(WithTokenError::Api(ApiError::NotFound { .. })) => meeting.clone(),
            Err(error) => return Err(error.into()),
        };
        self.archive.keep(key, &[whole], Told::Whole).await?;
        Ok(())
    }

    async fn complete(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        mut state: State,
    ) -> Result<(), store::Error> {
        let (now, run) = (self.clock.now(), state.run.take());
        let (read, changed, pages) = run
            .as_ref()
            .map_or((0, 0, 0), |run| (run.read, run.changed, run.pages));
        state.complete_since = run.map(|run| run.began_at);
        state.finished_at = Some(now);
        state.read = read;
        tracing::info!(
            provider = %key.provider, user = %key.user, meetings = read, changed, pages,
            "meetings are read",
        );
        self.followers.synced(key, changed).await?;
        let next = RECONCILE / 2 + self.random.up_to(RECONCILE);
        self.rest(key, owner, Some(&state), Some(next)).await
    }

    async fn failed(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        mut state: State,
        error: &WithTokenError,
    ) -> Result<(), store::Error> {
        state.failures = state.failures.saturating_add(1);
        let own = AFTER_FAILURES.after(state.failures, &*self.random);
        let wait = match error {
            WithTokenError::Api(ApiError::RateLimited { retry_after, .. }) => {
                // Being asked to wait is no failure.
                state.failures -= 1;
                retry_after.unwrap_or(REST).clamp(REST / 4, RECONCILE)
            }
            error if error.is_transient() => own,
            _ => RECONCILE,
        };
        state.last_error = Some(error.to_string());
        tracing::warn!(
            provider = %key.provider, user = %key.user,
            error = error as &dyn std::error::Error, next_in = ?wait,
            "meetings could not be read",
        );
        self.rest(key, owner, Some(&state), Some(wait)).await
    }

    async fn rest(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<&State>,
        next: Option<Duration>,
    ) -> Result<(), store::Error> {
        let sealed = state.map(|state| self.states.seal(key, state));
        // Losing the claim means that another goes on from what was last written.
        let _kept = self
            .store
            .finish(JobKind::Sync, key, owner, sealed, next)
            .await?;
        Ok(())
    }
}

/// Why a run did not come to its end.
enum Interrupted {
    Store(store::Error),
    Provider(WithTokenError),
}

impl From<store::Error> for Interrupted {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<WithTokenError> for Interrupted {
    fn from(error: WithTokenError) -> Self {
        Self::Provider(error)
    }
}

/// What came of keeping a page.
struct KeptPage {
    /// How many calls the provider still takes, if it tells.
    left: Option<u32>,
    /// Whether some were left for another time.
    is_cut: bool,
}

/// Whether what is left of calls is the app's.
const fn is_short(left: u32) -> bool {
    left < LEAVE + CALLS_A_MEETING
}

/// How long to rest, so that the app has calls left.
fn rest_of(headroom: Headroom) -> Duration {
    headroom.resets_in.unwrap_or(REST).min(RECONCILE)
}
