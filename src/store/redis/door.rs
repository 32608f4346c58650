//! The connection to the servers: one, shared by all calls, opened when needed and again when lost.
//!
//! 1. A call whose connection breaks is sent once more on a new one. Scripts recognise a call they
//!    have carried out already, so that this changes nothing twice.
//! 2. A server that calls itself a replica is left; the sentinels are asked again.
//! 3. When the password is replaced, or whom to trust, a new connection takes the place of the old one,
//!    which a server or the nodes of a cluster would not let in again, or could not show who they are to.
//!    While the new one is refused, the old one stays.
//! 4. The connections to a cluster mend themselves, but not always while much is asked. When answers do
//!    not come, others are made beside them now and then, by one of those who have waited, and take
//!    their place when they are there.
//! 5. Nobody waits longer than [`PATIENCE`]. Those who wait for one attempt to connect share its
//!    failure, for otherwise each would wait for its own.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisFuture, ScriptInvocation,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    address::{Address, Credentials, Host, Kind},
    failure::{Failure, Remedy, remedy},
    plug, sentinel,
    trust::Trust,
};

/// How long one step may take: connecting, or an answer. Far more than a healthy server needs, far
/// less than the shortest lease.
const STEP: Duration = Duration::from_secs(2);

/// How long a call may take with all its steps.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a call is sent at most.
const TRIES: u32 = 4;

/// Between two tries; grows with each.
const PAUSE: Duration = Duration::from_millis(50);

/// For how long a failed attempt to connect speaks for those who waited for it.
const SHARED: Duration = Duration::from_millis(100);

/// How often a connection with a new password is tried while the one with the old one works; and how
/// often the connections to a cluster are made anew that does not answer.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How often the driver of a cluster follows a redirection by itself.
const REDIRECTIONS: u32 = 3;

/// Opens connections and keeps one.
#[derive(Debug)]
pub(super) struct Door {
    address: Arc<Address>,
    /// Says which certificates are trusted at this moment; without it, the platform's.
    trust: Option<Trust>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many connections there were; tells them apart.
    count: u64,
    wire: Option<Wire>,
    /// What the connection was made with.
    credentials: Option<Arc<Credentials>>,
    /// Whom it was made to trust.
    trust: Option<Arc<[u8]>>,
    failed: Option<(Instant, Failure)>,
    /// When the connections to a cluster were last made, or made anew.
    renewed: Option<Instant>,
}

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    /// To one server.
    Single(MultiplexedConnection),
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

/// What is asked of the servers.
pub(super) enum Question<'a> {
    /// One command.
    Command(&'a Cmd),
    /// One command, to the server of a cluster that takes writes to this slot.
    At(&'a Cmd, u16),
    /// One script, which is loaded if need be.
    Script(&'a ScriptInvocation<'a>),
}

// === impl Door ===

impl Door {
    pub(super) fn new(address: Arc<Address>, trust: Option<Trust>) -> Self {
        Self {
            address,
            trust,
            state: Mutex::default(),
        }
    }

    /// The certificates that are trusted now, in PEM; the platform's if there are none.
    pub(super) fn trust(&self) -> Option<Arc<[u8]>> {
        self.trust.as_ref().and_then(Trust::now)
    }

    /// Asks, and asks again where that helps and does no harm.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        question: Question<'_>,
    ) -> Result<T, Failure> {
        match timeout(PATIENCE, self.ask_patiently(&question)).await {
            Ok(answer) => Ok(redis::from_redis_value(answer?)?),
            Err(_elapsed) => {
                self.leave(None).await;
                Err(Failure::Silence)
            }
        }
    }

    /// Asks with one command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.ask(Question::Command(command)).await
    }

    async fn ask_patiently(&self, question: &Question<'_>) -> Result<Value, Failure> {
        let mut tries = 1;
        loop {
            let (number, mut wire) = self.enter().await?;
            let error = match timeout(STEP + PAUSE, question.put(&mut wire)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_elapsed) => {
                    self.leave(Some(number)).await;
                    return Err(Failure::Silence);
                }
            };
            let remedy = remedy(&error);
            if remedy == Remedy::Reconnect || error.is_unrecoverable_error() || error.is_timeout() {
                self.leave(Some(number)).await;
            }
            if remedy == Remedy::None || tries >= TRIES {
                return Err(error.into());
            }
            sleep(PAUSE.saturating_mul(tries * tries)).await;
            tries += 1;
        }
    }

    /// The connection that there is, or a new one.
    async fn enter(&self) -> Result<(u64, Wire), Failure> {
        let mut state = self.state.lock().await;
        let credentials = self.address.credentials();
        if let Some(wire) = &state.wire {
            let wire = wire.clone();
            let is_current = state.is_made_with(&credentials, self.trust().as_ref());
            if is_current || state.has_failed_within(RENEW_EVERY).is_some() {
                return Ok((state.count, wire));
            }
            if let Err(failure) = self.open(&mut state, credentials).await {
                tracing::warn!(
                    ?failure,
                    "no connection to Redis can be made with the new user, password or authorities; the \
                     old one stays in use",
                );
                return Ok((state.count, wire));
            }
        } else {
            if let Some(failure) = state.has_failed_within(SHARED) {
                return Err(failure);
            }
            self.open(&mut state, credentials).await?;
        }
        let wire = state.wire.clone().ok_or(Failure::Silence)?;
        Ok((state.count, wire))
    }

    /// Opens a connection in the place of the one there is.
    async fn open(&self, state: &mut State, credentials: Arc<Credentials>) -> Result<(), Failure> {
        let trust = self.trust();
        match Box::pin(self.connect()).await {
            Ok(wire) => {
                state.count += 1;
                state.failed = None;
                state.renewed = Some(Instant::now());
                state.wire = Some(wire);
                state.credentials = Some(credentials);
                state.trust = trust;
                Ok(())
            }
            Err(failure) => {
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Lets the connection with this number go, or whichever there is; of a cluster's, see
    /// [`Self::renew_cluster`].
    pub(super) async fn leave(&self, number: Option<u64>) {
        let mut state = self.state.lock().await;
        if number.is_some_and(|number| number != state.count) {
            return;
        }
        if !matches!(state.wire, Some(Wire::Cluster(_))) {
            state.wire = None;
        } else if number.is_some() && state.may_renew() {
            drop(state);
            self.renew_cluster().await;
        }
    }

    /// Makes the connections to a cluster anew, beside those that are in use until then. Nobody else
    /// waits for it.
    async fn renew_cluster(&self) {
        let (credentials, trust) = (self.address.credentials(), self.trust());
        if let Ok(wire) = Box::pin(self.connect()).await {
            let mut state = self.state.lock().await;
            state.count += 1;
            state.wire = Some(wire);
            state.credentials = Some(credentials);
            state.trust = trust;
        }
    }

    async fn connect(&self) -> Result<Wire, Failure> {
        if self.address.kind == Kind::Cluster {
            return self.connect_cluster().await.map(Wire::Cluster);
        }
        let client = self.client().await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(STEP))
            .set_response_timeout(Some(STEP));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = in_time(connecting).await?;
        if matches!(self.address.kind, Kind::Sentinel { .. }) {
            sentinel::must_be_master(&mut connection).await?;
        }
        Ok(Wire::Single(connection))
    }

    async fn connect_cluster(&self) -> Result<ClusterConnection, Failure> {
        let nodes: Result<Vec<_>, _> = self
            .address
            .hosts
            .iter()
            .map(|host| plug::info(&self.address, host, true))
            .collect();
        let mut builder = ClusterClientBuilder::new(nodes?)
            .retries(REDIRECTIONS)
            .max_retry_wait(200)
            .connection_timeout(STEP)
            .response_timeout(STEP);
        if self.address.tls {
            builder = builder
                .tls(redis::cluster::TlsMode::Secure)
                .certs(plug::certificates(self.trust().as_deref()));
        }
        let credentials = self.address.credentials();
        if let Some(user) = &credentials.user {
            builder = builder.username(user);
        }
        if let Some(password) = &credentials.password {
            builder = builder.password(password.danger_expose());
        }
        let client = builder.build()?;
        in_time(client.get_async_connection()).await
    }

    /// A client of the server that takes writes, or of any node of a cluster, for a connection of its
    /// own.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let trust = self.trust();
        let trust = trust.as_deref();
        if let Kind::Sentinel { master } = &self.address.kind {
            let host = sentinel::find_master(&self.address, master, trust).await?;
            return plug::client(&self.address, &host, trust);
        }
        let mut last = None;
        for host in &self.address.hosts {
            match self.reach(host).await {
                Ok(client) => return Ok(client),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or(Failure::Silence))
    }

    /// A client of `host`; of several hosts, only if it answers.
    async fn reach(&self, host: &Host) -> Result<Client, Failure> {
        let client = plug::client(&self.address, host, self.trust().as_deref())?;
        if self.address.hosts.len() > 1 {
            drop(in_time(client.get_multiplexed_async_connection()).await?);
        }
        Ok(client)
    }
}

/// Within one step.
pub(super) async fn in_time<T>(
    step: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Failure> {
    match timeout(STEP, step).await {
        Ok(outcome) => Ok(outcome?),
        Err(_elapsed) => Err(Failure::Silence),
    }
}

// === impl State ===

impl State {
    /// Whether the connection was made with what counts now.
    fn is_made_with(&self, credentials: &Arc<Credentials>, trust: Option<&Arc<[u8]>>) -> bool {
        let made_with = self.credentials.as_ref();
        let is_trust = match (&self.trust, trust) {
            (Some(used), Some(now)) => Arc::ptr_eq(used, now),
            (used, now) => used.is_none() && now.is_none(),
        };
        is_trust && made_with.is_some_and(|used| Arc::ptr_eq(used, credentials))
    }

    /// How the last attempt to connect failed, if that was not longer ago.
    fn has_failed_within(&self, time: Duration) -> Option<Failure> {
        let (at, failure) = self.failed.as_ref()?;
        let is_recent = Instant::now().saturating_duration_since(*at) < time;
        is_recent.then(|| failure.clone())
    }

    /// Whether the connections to a cluster may be made anew; if so, not again for a while.
    fn may_renew(&mut self) -> bool {
        let now = Instant::now();
        let is_early = |at: Instant| now.saturating_duration_since(at) < RENEW_EVERY;
        if self.renewed.is_some_and(is_early) {
            return false;
        }
        self.renewed = Some(now);
        true
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("count", &self.count)
            .field("open", &self.wire.is_some())
            .finish_non_exhaustive()
    }
}

// === impl Question ===

impl Question<'_> {
    async fn put(&self, wire: &mut Wire) -> redis::RedisResult<Value> {
        match self {
            Self::Command(command) => command.query_async(wire).await,
            Self::At(command, slot) => match wire {
                Wire::Single(_) => command.query_async(wire).await,
                Wire::Cluster(connection) => {
                    let route =
                        SingleNodeRoutingInfo::SpecificNode(Route::new(*slot, SlotAddr::Master));
                    let node = RoutingInfo::SingleNode(route);
                    connection.route_command((*command).clone(), node).await
                }
            },
            Self::Script(script) => script.invoke_async(wire).await,
        }
    }
}

// === impl Wire ===

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
