//! Who follows the life of connections: webhooks, meetings, the app.
//!
//! 1. Followers hear of what is already so: the store has the connection when
//!    [`Follower::connected`] is called, and has it no longer at [`Follower::disconnected`].
//! 2. Only [`Follower::disconnecting`] comes before the fact: it is the last moment at which the
//!    connection's token can be used, to take back what was set up with it.
//! 3. A browser or an operator waits meanwhile: a call is dropped where it waits after [`PATIENCE`].
//!    What takes longer is written down as a job.
//! 4. A process may die between the store's write and a call. Whoever must miss nothing also looks for
//!    connections that it has not heard of.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{base::ids::ConnectionKey, store::Connection, token::Revocation};

/// How long one call to a follower may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Hears of connections that come and go; see the [module docs](self).
#[async_trait]
pub trait Follower: Send + Sync + 'static {
    /// `connection` has a new grant. Failures are the follower's own: the user is connected.
    async fn connected(&self, connection: &Connection, arrival: Arrival);

    /// Somebody has come back from the provider's consent page, and is connected, or is not, for a reason
    /// of one word. Those who are are told of by [`Self::connected`], too.
    async fn consented(&self, _key: &ConnectionKey, _outcome: Result<(), &'static str>) {}

    /// The grant of `connection` is about to end: its user disconnects, or has chosen another account
    /// ([`Arrival::OtherAccount`] follows). Should the end not come about after all,
    /// [`Arrival::Again`] follows.
    async fn disconnecting(&self, connection: &Connection);

    /// `connection`, as it last was, is forgotten.
    async fn disconnected(&self, connection: &Connection, revocation: Revocation);
}

/// How a user came to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// There was no connection.
    First,
    /// The same account as before, as far as is known.
    Again,
    /// Another account than before: what belongs to the old one is not this user's any more.
    OtherAccount,
}

/// All followers; each is told at the same time as the others.
#[derive(Clone, Default)]
pub(super) struct Followers(Arc<[Arc<dyn Follower>]>);

// === impl Arrival ===

impl Arrival {
    /// As in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again => "again",
            Self::OtherAccount => "other_account",
        }
    }
}

// === impl Followers ===

impl Followers {
    pub(super) fn new(followers: Vec<Arc<dyn Follower>>) -> Self {
        Self(followers.into())
    }

    pub(super) async fn connected(&self, connection: &Connection, arrival: Arrival) {
        self.tell(&connection.key, |follower| {
            follower.connected(connection, arrival)
        })
        .await;
    }

    pub(super) async fn consented(&self, key: &ConnectionKey, outcome: Result<(), &'static str>) {
        self.tell(key, |follower| follower.consented(key, outcome))
            .await;
    }

    pub(super) async fn disconnecting(&self, connection: &Connection) {
        self.tell(&connection.key, |follower| {
            follower.disconnecting(connection)
        })
        .await;
    }

    pub(super) async fn disconnected(&self, connection: &Connection, revocation: Revocation) {
        self.tell(&connection.key, |follower| {
            follower.disconnected(connection, revocation)
        })
        .await;
    }

    async fn tell<'a, F>(&'a self, key: &ConnectionKey, call: impl Fn(&'a dyn Follower) -> F)
    where
        F: Future<Output = ()>,
    {
        let calls = self.0.iter().map(|follower| call(&**follower));
        let patient = calls.map(|call| timeout(PATIENCE, call));
        if join_all(patient).await.iter().any(Result::is_err) {
            tracing::warn!(
                provider = %key.provider, user = %key.user,
                "what follows from connecting or disconnecting took too long; it goes on without",
            );
        }
    }
}

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Followers").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::{
        base::{
            clock::Timestamp,
            ids::{ConnectionId, Generation, GrantId},
            random::SeededRandom,
        },
        store::Status,
    };

    /// Takes so long with everything.
    struct Slow(Duration, Mutex<u32>);

    #[async_trait]
    impl Follower for Slow {
        async fn connected(&self, _: &Connection, _: Arrival) {
            tokio::time::sleep(self.0).await;
            *self.1.lock() += 1;
        }
        async fn disconnecting(&self, _: &Connection) {}
        async fn disconnected(&self, _: &Connection, _: Revocation) {}
    }

    fn connection() -> Connection {
        Connection {
            key: ConnectionKey {
                provider: "calendly".parse().unwrap(),
                user: "u_1".parse().unwrap(),
            },
            id: ConnectionId::random(&SeededRandom::new(1)),
            status: Status::Active,
            generation: Generation::new(1),
            grant: GrantId::UNNAMED,
            tokens: None,
            external_id: None,
            organization: None,
            managed_user_id: None,
            scope: None,
            intent: None,
            cooldown: None,
            forced_at: None,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn followers_run_side_by_side_and_one_that_hangs_holds_up_nobody_for_ever() {
        let slow = |secs| Arc::new(Slow(Duration::from_secs(secs), Mutex::new(0)));
        let (one, two, stuck) = (slow(6), slow(7), slow(1000));
        let all: [Arc<Slow>; 3] = [Arc::clone(&one), Arc::clone(&two), Arc::clone(&stuck)];
        let followers = Followers::new(all.map(|one| one as Arc<dyn Follower>).to_vec());
        let begun = tokio::time::Instant::now();
        followers.connected(&connection(), Arrival::First).await;
        assert_eq!(tokio::time::Instant::now() - begun, PATIENCE);
        let done = [one, two, stuck].map(|one| *one.1.lock());
        assert_eq!(done, [1, 1, 0]);
    }
}
