//! The last look: both stores are gone through once more, and every connection compared, opened and
//! counted.

#![expect(
    clippy::future_not_send,
    reason = "a command runs on the thread that writes its answer"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    odd::Odd,
    rest::Mark,
    transfer::{Transfer, count},
    walk::{Pair, Standing, Walk},
};
use crate::{
    base::ids::ConnectionKey,
    cli::Error,
    store::{
        Found, Record,
        seal::{Aad, Field, KeyRing, OpenError, Sealed},
    },
};

/// How long is waited for leases that nobody renews to end; twice as long as they usually live.
const LEASES_END_WITHIN: Duration = Duration::from_mins(1);

/// What both stores were found to be.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The same in both, and all their tokens open.
    pub(super) same: u64,
    /// Newer in the target, and left so.
    pub(super) newer: Odd,
    /// Unreadable in the source, so that there is no copy.
    pub(super) unreadable: Odd,
    /// The same, but with tokens that do not open.
    pub(super) closed: Odd,
    /// Not the same.
    pub(super) different: Odd,
    leased: Vec<ConnectionKey>,
}

// === impl Transfer ===

impl Transfer<'_, '_> {
    /// Goes through both stores, which must have been at rest since `mark`.
    pub(super) async fn verify(&mut self, mark: &Mark, keys: &KeyRing) -> Result<Verdict, Error> {
        let total = count(self.source).await?;
        self.progress.begin("verifying", total);
        let mut walk = Walk::of(self.source, self.target);
        let mut verdict = Verdict::default();
        loop {
            let pairs = walk.next().await?;
            if pairs.is_empty() {
                break;
            }
            for pair in &pairs {
                verdict.look(pair, keys);
            }
            self.progress.advance(pairs.len());
        }
        self.rest(mark).await?;
        self.wait_for_leases(&verdict.leased).await?;
        self.compare_counts(&verdict).await?;
        Ok(verdict)
    }

    /// A renewal that is under way would end in the source only.
    async fn wait_for_leases(&mut self, leased: &[ConnectionKey]) -> Result<(), Error> {
        if leased.is_empty() {
            return Ok(());
        }
        let mut whose = Odd::default();
        for key in leased {
            whose.add_named(key.to_string());
        }
        let within = LEASES_END_WITHIN.as_secs();
        self.progress.say(&format!(
            "Waiting up to {within} s for the leases of {whose} to end: they were being renewed.",
        ));
        self.progress.begin_wait(LEASES_END_WITHIN);
        let begun = Instant::now();
        for key in leased {
            while self.is_leased(key).await? {
                let waited = Instant::now().saturating_duration_since(begun);
                if waited > LEASES_END_WITHIN {
                    return Err(Error::Failed(format!(
                        "{key} is being renewed in {}: somebody still works there. Stop it, and run \
                         this again, which goes on from here",
                        self.names.0
                    )));
                }
                self.progress
                    .wait_on(LEASES_END_WITHIN.saturating_sub(waited));
                sleep(Duration::from_millis(200)).await;
            }
        }
        let mark = self.mark().await?;
        for key in leased {
            let (source, target) =
                tokio::try_join!(self.source.record(key), self.target.record(key))?;
            if (Pair { source, target }).standing() != Standing::Same {
                return Err(self.changed());
            }
        }
        self.rest(&mark).await
    }

    async fn is_leased(&self, key: &ConnectionKey) -> Result<bool, Error> {
        let found = self.source.record(key).await?;
        Ok(matches!(found, Some(Found::Whole { leased: true, .. })))
    }

    /// The stores' own counts, which come from their indices.
    async fn compare_counts(&self, verdict: &Verdict) -> Result<(), Error> {
        let odd = [&verdict.newer, &verdict.unreadable, &verdict.different];
        if odd.iter().any(|odd| odd.count > 0) {
            return Ok(());
        }
        let (here, there) = tokio::try_join!(self.source.census(), self.target.census())?;
        if here == there {
            return Ok(());
        }
        let (source, target) = &self.names;
        Err(Error::Failed(format!(
            "every connection is the same, but {source} and {target} count them differently: the indices \
             of one are damaged. Restore a backup of it, and run this again",
        )))
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether everything is in the target as it should be.
    pub(super) const fn is_complete(&self, keep_newer: bool) -> bool {
        let is_newer_fine = self.newer.count == 0 || keep_newer;
        is_newer_fine
            && self.unreadable.count == 0
            && self.closed.count == 0
            && self.different.count == 0
    }

    fn look(&mut self, pair: &Pair, keys: &KeyRing) {
        match (pair.standing(), &pair.source) {
            (Standing::Same, Some(Found::Whole { record, leased })) => {
                if *leased {
                    self.leased.push(record.connection.key.clone());
                }
                match open(record, keys) {
                    Ok(()) => self.same = self.same.saturating_add(1),
                    Err(error) => {
                        let key = &record.connection.key;
                        self.closed.add_named(format!("{key}: {error}"));
                    }
                }
            }
            (Standing::Newer, _) => self.newer.add(pair),
            (Standing::SourceBroken, Some(Found::Broken { key, what })) => {
                self.unreadable.add_named(format!("{key}: {what}"));
            }
            _ => self.different.add(pair),
        }
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        json!({
            "same": self.same,
            "newer_in_target": self.newer.as_json(),
            "unreadable": self.unreadable.as_json(),
            "unopenable": self.closed.as_json(),
            "different": self.different.as_json(),
        })
    }
}

/// Whether the tokens open with `keys`.
fn open(record: &Record, keys: &KeyRing) -> Result<(), OpenError> {
    let connection = &record.connection;
    let Some(tokens) = &connection.tokens else {
        return Ok(());
    };
    let open = |field, sealed: &Sealed| keys.open(&Aad::new(&connection.key, field), sealed);
    open(Field::AccessToken, &tokens.access)?;
    if let Some(refresh) = &tokens.refresh {
        open(Field::RefreshToken, refresh)?;
    }
    Ok(())
}
