//! The wire between one sidecar and the store: slow, and sometimes broken at either end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, OwnerId},
    },
    store::{
        Begun, Census, Changes, Committed, Connection, Cooldown, Cursor, Due, Duty, Error, Fence,
        Fenced, Filter, Lease, NewConnection, ReauthReason, Redemption, Renewed, Saved, Spent,
        Store, Turn,
    },
    token::Disk,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    ledger::Who, memory_store::MemoryStore, mutant::Mutant, schedule::disconnect_elsewhere,
    world::World,
};

/// How long a client waits for the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store as one sidecar sees it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) who: Who,
    pub(crate) world: Arc<World>,
    /// Each connection as it was one write before, for those who must not see the last.
    pub(crate) earlier: Mutex<BTreeMap<ConnectionKey, Connection>>,
}

/// A spool that survives its process.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) who: Who,
    pub(crate) world: Arc<World>,
}

fn unavailable(what: &str) -> Error {
    Error::Unavailable {
        what: what.to_owned(),
        source: None,
    }
}

impl Wire {
    fn is(&self, mutant: Mutant) -> bool {
        self.world.mutant == Some(mutant)
    }

    fn fail<T>(&self, what: &str, how: &str, key: Option<&ConnectionKey>) -> Result<T, Error> {
        let mut ledger = self.world.ledger.lock();
        ledger.note(format_args!("{:?} {what}: {how}", self.who));
        ledger.mishap(self.who.slot, key);
        Err(unavailable(how))
    }

    /// Brings `call` to the store, and its answer back.
    async fn carry<T, F>(
        &self,
        what: &'static str,
        key: Option<&ConnectionKey>,
        call: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (world, slot) = (&self.world, self.who.slot);
        let dice = &world.dice;
        world.gate(slot).await;
        if !world.reaches(slot) {
            sleep(dice.pick(&[Duration::from_millis(1), PATIENCE])).await;
            return self.fail(what, "the store cannot be reached", key);
        }
        sleep(if self.loses() {
            dice.millis(100, 4500)
        } else {
            dice.millis(1, 8)
        })
        .await;
        if self.loses() {
            if dice.in_thousand(300) {
                // The client gives up; the store gets it all the same, later.
                world.later(dice.secs(1, 40), call);
            }
            sleep(PATIENCE).await;
            return self.fail(what, "no answer", key);
        }
        if !world.reaches(slot) {
            return self.fail(what, "the connection broke before it was done", key);
        }
        let done = call.await;
        if matches!(what, "acquire" | "begin" | "commit" | "fail" | "mark") {
            world.between_steps(self.who).await;
        }
        self.back(what, key, done).await
    }

    /// Brings an answer back from the store.
    async fn back<T>(
        &self,
        what: &'static str,
        key: Option<&ConnectionKey>,
        done: Result<T, Error>,
    ) -> Result<T, Error> {
        let (world, slot) = (&self.world, self.who.slot);
        let lag = world.plan.store_lag;
        if lag > 0 && !world.is_healed() && world.dice.in_thousand(lag) {
            // News of what happens meanwhile overtakes it: here of a removal, now and then.
            if let Some(key) = key
                && world.dice.in_thousand(30)
            {
                disconnect_elsewhere(world, slot, key);
            }
            sleep(world.dice.millis(100, 4500)).await;
        }
        sleep(world.dice.millis(1, 8)).await;
        let lost = self.loses() || !world.reaches(slot);
        if lost {
            sleep(world.dice.pick(&[Duration::ZERO, PATIENCE])).await;
        }
        world.gate(slot).await;
        if lost {
            return self.fail(what, "done, but the answer was lost", key);
        }
        done
    }

    /// Whether this message is lost.
    fn loses(&self) -> bool {
        !self.world.is_healed() && self.world.dice.in_thousand(self.world.plan.store_loss)
    }

    fn core(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.world.store)
    }

    /// The fence as a store takes it that may know of no grants.
    fn fence(&self, fence: &Fence) -> Fence {
        let mut fence = fence.clone();
        if self.is(Mutant::UnnamedGrants) {
            fence.grant = None;
        }
        fence
    }

    /// The fence as a store without fences takes it.
    fn unfenced(&self, fence: &Fence, mutant: Mutant) -> Fence {
        match self.world.store.peek(&fence.key) {
            Some(now) if self.is(mutant) && now.id == fence.id => Fence::of(&now),
            _ => self.fence(fence),
        }
    }
}

#[async_trait]
impl Store for Wire {
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        let (core, asked) = (self.core(), key.clone());
        self.carry("load", Some(key), async move { core.load(&asked).await })
            .await
    }

    async fn page(
        &self,
        _: &Filter,
        _: Option<&ConnectionKey>,
        _: usize,
    ) -> Result<Vec<Connection>, Error> {
        Err(unavailable("nobody pages here"))
    }

    async fn save(&self, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Error> {
        let (world, core) = (Arc::clone(&self.world), self.core());
        self.carry("save", None, async move {
            let saved = core.save(batch).await?;
            for saved in &saved {
                world.has_saved(&saved.connection().key);
            }
            Ok(saved)
        })
        .await
    }

    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        let (world, core, asked) = (Arc::clone(&self.world), self.core(), key.clone());
        self.carry("remove", Some(key), async move {
            let removed = core.remove(&asked).await?;
            world.has_saved(&asked);
            Ok(removed)
        })
        .await
    }

    async fn acquire(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, Error> {
        let (world, core, asked, who) =
            (Arc::clone(&self.world), self.core(), key.clone(), self.who);
        if self.is(Mutant::LeasesForAll) {
            core.drop_lease(key);
        }
        let lease = self
            .carry("acquire", Some(key), async move {
                let lease = core.acquire(&asked, owner, ttl).await?;
                world.note(format_args!(
                    "{who:?} asks for the lease of {asked}: {}",
                    match &lease {
                        Lease::Granted(_) => "granted",
                        Lease::Held(_) => "held",
                        Lease::Gone => "gone",
                    }
                ));
                Ok(lease)
            })
            .await?;
        match lease {
            Lease::Granted(now) if self.is(Mutant::StaleReads) => {
                let earlier = self.earlier.lock().insert(key.clone(), (*now).clone());
                Ok(Lease::Granted(earlier.map_or(now, Box::new)))
            }
            lease => Ok(lease),
        }
    }

    async fn extend(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<bool, Error> {
        if self.is(Mutant::LeasesRunOut) {
            return Ok(true);
        }
        let (world, core, who) = (Arc::clone(&self.world), self.core(), self.who);
        let (since, key) = (Instant::now(), key.clone());
        self.carry("extend", Some(&key.clone()), async move {
            let kept = core.extend(&key, owner, ttl).await?;
            if kept {
                world.ledger.lock().prolonged(who, &key, since);
            }
            Ok(kept)
        })
        .await
    }

    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error> {
        let (core, asked) = (self.core(), key.clone());
        let anyones = self.is(Mutant::ReleasedByAnyone);
        self.carry("release", Some(key), async move {
            if anyones {
                core.drop_lease(&asked);
            }
            core.release(&asked, owner).await
        })
        .await
    }

    async fn begin(
        &self,
        fence: &Fence,
        owner: OwnerId,
        redemption: Redemption,
        at: Timestamp,
    ) -> Result<Begun, Error> {
        let asked = Instant::now();
        let (world, core, who) = (Arc::clone(&self.world), self.core(), self.who);
        let named = fence.clone();
        let fence = self.unfenced(fence, Mutant::UnfencedIntents);
        let lax = self.is(Mutant::UnfencedIntents)
            || self.is(Mutant::StaleReads)
            || self.is(Mutant::LeasesForAll);
        let fence = if lax {
            self.world
                .store
                .peek(&fence.key)
                .map_or(fence, |now| Fence::of(&now))
        } else {
            fence
        };
        let forgets = self.is(Mutant::ForgottenIntents);
        self.carry("begin", Some(&named.key), async move {
            if lax {
                core.drop_lease(&fence.key);
                let _ours = core
                    .acquire(&fence.key, owner, Duration::from_secs(30))
                    .await?;
            }
            let begun = core.begin(&fence, owner, redemption, at).await?;
            if forgets {
                core.drop_intent(&fence.key);
            }
            if matches!(begun, Begun::Recorded { .. }) {
                world.note(format_args!(
                    "{who:?} begins {} from {}",
                    fence.key, fence.generation
                ));
                world.ledger.lock().began(who, &fence.key, asked);
            }
            Ok(begun)
        })
        .await
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        let (world, core, who) = (Arc::clone(&self.world), self.core(), self.who);
        let fence = self.unfenced(fence, Mutant::UnfencedCommits);
        let key = fence.key.clone();
        let back = self.world.store.peek(&key);
        let done = self
            .carry("commit", Some(&key), async move {
                let committed = core.commit(&fence, renewed).await?;
                world.note(format_args!(
                    "{who:?} commits {} from {}: {}",
                    fence.key,
                    fence.generation,
                    match &committed {
                        Committed::Stored(_) => "stored",
                        Committed::Superseded(_) => "superseded",
                        Committed::Gone => "gone",
                    }
                ));
                world.has_stored(&fence.key);
                Ok(committed)
            })
            .await;
        match (done, back) {
            (Err(_), Some(back)) if self.is(Mutant::DroppedCommits) => {
                Ok(Committed::Superseded(Box::new(back)))
            }
            (done, _) => done,
        }
    }

    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error> {
        if self.is(Mutant::NoCooldowns) {
            return Ok(Fenced::Written);
        }
        let core = self.core();
        let named = self.fence(fence);
        self.carry("fail", Some(&fence.key), async move {
            core.fail(&named, cooldown, spent).await
        })
        .await
    }

    async fn mark_needs_reauth(
        &self,
        fence: &Fence,
        reason: ReauthReason,
        since: Timestamp,
    ) -> Result<Fenced, Error> {
        let (world, core, who) = (Arc::clone(&self.world), self.core(), self.who);
        let fence = self.fence(fence);
        let lax = self.is(Mutant::UnfencedMarks);
        let key = fence.key.clone();
        self.carry("mark", Some(&key), async move {
            let now = world
                .store
                .peek(&fence.key)
                .filter(|now| lax && now.id == fence.id);
            let fence = now.map_or(fence, |now| Fence::of(&now));
            let marked = core.mark_needs_reauth(&fence, reason, since).await?;
            world.note(format_args!(
                "{who:?} marks {} {reason:?}: {marked:?}",
                fence.key
            ));
            if let (Fenced::Written, Some(now)) = (marked, core.peek(&fence.key)) {
                world.ledger.lock().marked(who, &now, reason);
            }
            Ok(marked)
        })
        .await
    }

    async fn take_duty(&self, duty: &Duty, owner: OwnerId, ttl: Duration) -> Result<Turn, Error> {
        let (core, asked) = (self.core(), duty.clone());
        self.carry("take duty", None, async move {
            core.take_duty(&asked, owner, ttl).await
        })
        .await
    }

    async fn leave_duty(&self, duty: &Duty, owner: OwnerId) -> Result<bool, Error> {
        let (core, asked) = (self.core(), duty.clone());
        self.carry("leave duty", None, async move {
            core.leave_duty(&asked, owner).await
        })
        .await
    }

    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error> {
        let (core, due) = (self.core(), due.clone());
        self.carry("due", None, async move { core.due(&due).await })
            .await
    }

    async fn changes(&self, cursor: Option<Cursor>, wait: Duration) -> Result<Changes, Error> {
        let core = self.core();
        self.carry(
            "changes",
            None,
            async move { core.changes(cursor, wait).await },
        )
        .await
    }

    async fn census(&self) -> Result<Vec<Census>, Error> {
        self.world.store.census().await
    }

    async fn check(&self) -> Result<(), Error> {
        self.world.store.check().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.world.store.ping().await
    }
}

impl Shelf {
    /// Which pair a file holds cannot be read from its name; the ledger is told by its connection.
    fn tell(&self, bytes: &[u8], spooled: bool) {
        for refresh in self.world.pairs_in(bytes) {
            self.world.ledger.lock().spooled(&refresh, spooled);
        }
    }
}

#[async_trait]
impl Disk for Shelf {
    async fn read_all(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let files = self.world.slots[self.who.slot].spool.lock().clone();
        Ok(files.into_iter().collect())
    }

    async fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        sleep(self.world.dice.millis(1, 30)).await;
        self.world.note(format_args!("{:?} spools", self.who));
        self.world.ledger.lock().counts.add("spooled", 1);
        if self.world.mutant != Some(Mutant::ForgetfulSpool) {
            let mut files = self.world.slots[self.who.slot].spool.lock();
            files.insert(name.to_owned(), bytes.to_vec());
        }
        self.tell(bytes, true);
        Ok(())
    }

    async fn remove(&self, name: &str) -> std::io::Result<()> {
        sleep(self.world.dice.millis(1, 30)).await;
        let removed = self.world.slots[self.who.slot].spool.lock().remove(name);
        if let Some(bytes) = removed {
            self.tell(&bytes, false);
        }
        Ok(())
    }
}
