//! Connections: few, opened when needed, closed when idle, given up when in doubt.
//!
//! 1. Nothing is kept in a session: no prepared statement with a name, no setting, no lock. A pooler
//!    in transaction mode may hand each statement to another server process.
//! 2. A connection is lent to one operation at a time and comes back only if that ended well or was
//!    refused by the server; otherwise its state is not known, and it is closed.

use std::{mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_postgres::{
    Client, Row, Socket,
    types::{ToSql, Type},
};

use super::{
    address::Address,
    failure::Failure,
    tls::{Stream, Tls},
};
use crate::base::lifecycle::Lifecycle;

/// A parameter and its type, named so that the server need not be asked for it first.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The half of a connection that reads from the server.
pub(super) type Driver = tokio_postgres::Connection<Socket, Stream>;

/// How often a statement is tried that the server rolled back for the sake of another.
pub(super) const TRIES: u32 = 5;

/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_mins(1);

/// The connections of one store.
pub(super) struct Pool {
    /// Asked for each connection: its password may have been replaced.
    address: Address,
    tls: Tls,
    lifecycle: Lifecycle,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last goes out first: the last one back, but for the one that listens.
    idle: Vec<Idle>,
    /// Connections that ended without our doing.
    lost: u64,
}

/// An open connection.
struct Member {
    client: Client,
    /// Notifications arrive on it: it is not closed when idle, and lent before any other.
    listens: bool,
}

struct Idle {
    member: Member,
    since: Instant,
}

/// A connection that is in use.
pub(super) struct Lent {
    member: Option<Member>,
    pool: Arc<Pool>,
    in_doubt: bool,
    _permit: OwnedSemaphorePermit,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(address: Address, tls: Tls, size: usize, lifecycle: &Lifecycle) -> Arc<Self> {
        Arc::new(Self {
            address,
            tls,
            lifecycle: lifecycle.clone(),
            permits: Arc::new(Semaphore::new(size.max(1))),
            state: Mutex::default(),
        })
    }

    /// A connection of one's own, outside the pool for now, with the half that must be driven.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), Failure> {
        let config = self.address.driver_config();
        let config = config.map_err(|_error| Failure::Unfit("store.url is no address"))?;
        Ok(config.connect(self.tls.clone()).await?)
    }

    /// A connection that works as far as is known; waits if too many are in use.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lent, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_closed| Failure::Stopped)?;
        let member = match self.take() {
            Some(member) => member,
            None => Member {
                client: self.open().await?,
                listens: false,
            },
        };
        Ok(Lent {
            member: Some(member),
            pool: Arc::clone(self),
            in_doubt: false,
            _permit: permit,
        })
    }

    /// One statement, on whichever connection is free.
    pub(super) async fn query(
        self: &Arc<Self>,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let mut tries = 1;
        loop {
            let answer = self.lend().await?.query(sql, params).await;
            match answer {
                Err(failure) if failure.is_to_be_repeated() && tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// Lends out a connection that listens, too: an idle process needs no other from now on.
    pub(super) fn adopt(&self, client: Client) {
        let mut state = self.state.lock();
        state.idle.clear();
        let listens = true;
        state.put_back(Member { client, listens });
    }

    /// Closes what nobody has used for a while.
    pub(super) fn close_idle(&self) {
        let now = Instant::now();
        let stays =
            |idle: &Idle| idle.member.listens || now.saturating_duration_since(idle.since) < IDLE;
        self.state.lock().idle.retain(stays);
    }

    /// A connection has ended without our doing.
    pub(super) fn note_lost(&self) {
        let mut state = self.state.lock();
        state.lost = state.lost.saturating_add(1);
    }

    /// How many connections have ended without our doing, so far.
    pub(super) fn lost(&self) -> u64 {
        let mut state = self.state.lock();
        let all = state.idle.len();
        state.idle.retain(|idle| !idle.member.client.is_closed());
        let gone = all.saturating_sub(state.idle.len());
        state.lost = state
            .lost
            .saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
        state.lost
    }

    fn take(&self) -> Option<Member> {
        let mut state = self.state.lock();
        while let Some(Idle { member, .. }) = state.idle.pop() {
            if !member.client.is_closed() {
                return Some(member);
            }
            state.lost = state.lost.saturating_add(1);
        }
        None
    }

    async fn open(&self) -> Result<Client, Failure> {
        let (client, driver) = self.connect().await?;
        self.lifecycle.spawn_unwatched(async move {
            // Whoever waits for an answer is told so too.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        Ok(client)
    }

    fn give_back(&self, member: Member, in_doubt: bool) {
        let mut state = self.state.lock();
        if member.client.is_closed() {
            state.lost = state.lost.saturating_add(1);
            // The others were most likely cut at the same time, even if it does not show yet.
            state.idle.clear();
        } else if !in_doubt {
            state.put_back(member);
        }
    }
}

// === impl State ===

impl State {
    fn put_back(&mut self, member: Member) {
        let behind = |idle: &Idle| idle.member.listens && !member.listens;
        let place = self.idle.len() - usize::from(self.idle.last().is_some_and(behind));
        let since = Instant::now();
        self.idle.insert(place, Idle { member, since });
    }
}

// === impl Lent ===

impl Lent {
    /// One statement by itself: it happens as a whole or not at all.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.run(async |client| client.query_typed(sql, params).await)
            .await
    }

    /// Several statements by themselves, without parameters or answers.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.run(async |client| client.batch_execute(sql).await)
            .await
    }

    async fn run<T>(
        &mut self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let Some(Member { client, .. }) = &self.member else {
            return Err(Failure::Stopped);
        };
        // Until there is an answer: whoever is dropped here leaves the connection to be closed.
        let doubted = mem::replace(&mut self.in_doubt, true);
        let answer = ask(client).await.map_err(Failure::from);
        let ended = answer.as_ref().is_err_and(Failure::ends_connection);
        self.in_doubt = doubted || ended;
        answer
    }

    /// Begins a transaction. Left without [`Self::commit`], it ends with its connection.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        self.in_doubt = true;
        Ok(())
    }

    /// Ends the transaction well.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        self.batch("COMMIT").await?;
        self.in_doubt = false;
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            self.pool.give_back(member, self.in_doubt);
        }
    }
}
