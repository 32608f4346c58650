//! A sidecar's ingress half, two emulated providers, and a store that a test can switch off.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::{Clock as _, ManualClock, SharedClock, SystemClock},
        ids::ConnectionKey,
        lifecycle::Lifecycle,
        random::{OsRandom, SharedRandom},
        secret::{ReloadableSecret, Secret},
    },
    connect::{self, Arrival, Connect, Follower, IssuedTokens, ingress},
    http::{
        Listen,
        access_log::{Facts, Observe},
        server::{self, Bound},
        tls::install_crypto,
    },
    provider::{
        ApiBase, Calls, SharedProvider,
        calcom::{self, Calcom},
        calendly::{self, Calendly, WebhookScope},
    },
    sandbox::Sandbox,
    store::{
        Connection, ReauthReason, Store,
        seal::{Key, KeyRing, generate_key},
    },
    token::{Issued, Lookup, Observer, Parts, Renewal, Revocation, TokenSource, Tokens},
};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::{kept::Kept, memory_store::MemoryStore, sandbox::without_limits};

/// Where the app is. Nobody listens there: browsers are only sent.
pub(crate) const APP: &str = "https://app.example.org";

pub(crate) const CALENDLY_SCOPE: &str = "users:read scheduled_events:read webhooks:write";
pub(crate) const CALCOM_SCOPE: &str = "PROFILE_READ BOOKING_READ WEBHOOK_READ WEBHOOK_WRITE";

/// What a test may want otherwise.
pub(crate) struct Wanted {
    pub(crate) calendly_scope: &'static str,
    pub(crate) calendly_secret: Option<String>,
    /// Where Calendly's OAuth server is, if not at the sandbox.
    pub(crate) calendly_auth: Option<String>,
    pub(crate) calendly_id: Option<&'static str>,
    /// Whether Cal.com's client is the one without a secret.
    pub(crate) public_client: bool,
    pub(crate) public_url: bool,
    /// What stands behind the host in the public URL.
    pub(crate) prefix: &'static str,
}

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) connect: Connect,
    pub(crate) tokens: Tokens,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) clock: ManualClock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) followed: Arc<Followed>,
    pub(crate) logged: Arc<Logged>,
    /// `http://127.0.0.1:…` of the ingress listener.
    pub(crate) ingress: String,
    /// The providers' own: they go on while the sidecar drains.
    _elsewhere: Lifecycle,
    _spool: TempDir,
}

/// What a follower heard.
#[derive(Default)]
pub(crate) struct Followed {
    pub(crate) heard: Mutex<Vec<String>>,
}

/// What the access log was told.
#[derive(Default)]
pub(crate) struct Logged(pub(crate) Mutex<Vec<Facts>>);

/// Has issued tokens remembered, as the application does.
#[derive(Debug)]
struct Remembering(Remembered);

struct Remembered(IssuedTokens);

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remembered")
    }
}

impl Observer for Remembering {
    fn looked_up(&self, _: &daypass::base::ids::ProviderName, _: Lookup) {}
    fn renewed(&self, _: &Renewal<'_>) {}
    fn needs_reauth(&self, _: &ConnectionKey, _: ReauthReason) {}
    fn issued(&self, issued: &Issued<'_>) {
        self.0.0.remember(issued);
    }
    fn spooled(&self, _: usize) {}
    fn store_failed(&self, _: &daypass::store::Error) {}
}

#[async_trait]
impl Follower for Followed {
    async fn connected(&self, connection: &Connection, arrival: Arrival) {
        let account = connection.external_id.as_deref().unwrap_or("?");
        let account = account.rsplit('/').next().unwrap();
        let (key, arrival) = (&connection.key, arrival.as_str());
        self.heard
            .lock()
            .push(format!("connected {key} {account} {arrival}"));
    }

    async fn disconnecting(&self, connection: &Connection) {
        self.heard
            .lock()
            .push(format!("disconnecting {}", connection.key));
    }

    async fn disconnected(&self, connection: &Connection, revocation: Revocation) {
        let (key, tokens) = (&connection.key, revocation.as_str());
        self.heard
            .lock()
            .push(format!("disconnected {key} {tokens}"));
    }
}

impl Observe for Logged {
    fn begun(&self) {}
    fn ended(&self, facts: &Facts) {
        self.0.lock().push(facts.clone());
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            calendly_scope: CALENDLY_SCOPE,
            calendly_secret: None,
            calendly_auth: None,
            calendly_id: Some("sandbox-calendly-client"),
            public_client: false,
            public_url: true,
            prefix: "",
        }
    }
}

impl World {
    pub(crate) async fn open() -> Self {
        Self::with(Wanted::default()).await
    }

    pub(crate) async fn with(wanted: Wanted) -> Self {
        install_crypto();
        let (lifecycle, random) = (Lifecycle::new(), Arc::new(OsRandom) as SharedRandom);
        let elsewhere = Lifecycle::new();
        let sandbox = without_limits(&elsewhere).await;
        let clock = ManualClock::new(SystemClock.now());
        let shared: SharedClock = Arc::new(clock.clone());
        let store = MemoryStore::remembering(Arc::clone(&shared), 1000);
        let kept = Kept::new(Arc::clone(&store), clock.clone());
        let key = Key::parse("k1", &generate_key(&*random)).unwrap();
        let keys = Arc::new(KeyRing::new("k1", vec![key]).unwrap());
        let providers = providers(&sandbox, &wanted, &shared);
        let spool = tempfile::tempdir().unwrap();
        let issued = IssuedTokens::new(
            Arc::clone(&kept) as _,
            Arc::clone(&keys),
            Arc::clone(&random),
            lifecycle.clone(),
        );
        let tokens = Tokens::start(Parts {
            config: daypass::token::Config::default(),
            store: Arc::clone(&store) as Arc<dyn Store>,
            providers: providers.clone(),
            keys: Arc::clone(&keys),
            spool_dir: spool.path().join("spool"),
            clock: Arc::clone(&shared),
            random: Arc::clone(&random),
            lifecycle: lifecycle.clone(),
            observer: Arc::new(Remembering(Remembered(issued))),
        })
        .await
        .unwrap();
        let bound = Bound::bind(&Listen::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = format!("http://{}", bound.local_addr());
        let (followed, logged): (Arc<Followed>, Arc<Logged>) = Default::default();
        let public_url = format!("{address}{}", wanted.prefix).parse().unwrap();
        let config = connect::Config {
            listen: bound.local_addr(),
            public_url: wanted.public_url.then_some(public_url),
            allowed_return_origins: vec![APP.parse().unwrap()],
            atoms_origins: vec![APP.parse().unwrap()],
            max_body_bytes: 1024,
        };
        let connect = Connect::new(connect::Parts {
            config: config.clone(),
            providers,
            tokens: tokens.clone(),
            expiring: Arc::clone(&kept) as _,
            accounts: Arc::clone(&kept) as _,
            keys,
            followers: vec![Arc::clone(&followed) as _],
            clock: shared,
            random,
            lifecycle: lifecycle.clone(),
        });
        let routes = connect.routes().merge(crate::ingress::echo());
        server::serve(
            bound,
            &lifecycle,
            ingress(routes, &config, Arc::clone(&logged) as _),
        );
        Self {
            sandbox,
            connect,
            tokens,
            store,
            kept,
            clock,
            lifecycle,
            followed,
            logged,
            ingress: address,
            _elsewhere: elsewhere,
            _spool: spool,
        }
    }

    pub(crate) fn key(provider: &str, user: &str) -> ConnectionKey {
        ConnectionKey {
            provider: provider.parse().unwrap(),
            user: user.parse().unwrap(),
        }
    }

    /// A link for `user`, who returns to the app.
    pub(crate) async fn link(&self, provider: &str, user: &str) -> String {
        let return_to = format!("{APP}/done?tab=1");
        self.link_to(provider, user, Some(&return_to)).await
    }

    pub(crate) async fn link_to(
        &self,
        provider: &str,
        user: &str,
        return_to: Option<&str>,
    ) -> String {
        let key = Self::key(provider, user);
        self.connect.link(&key, return_to).await.unwrap().url
    }

    /// The connection as stored.
    pub(crate) fn stored(&self, provider: &str, user: &str) -> Option<Connection> {
        self.store.peek(&Self::key(provider, user))
    }

    /// The token of `user`, as a request of theirs gets it.
    pub(crate) async fn token(&self, provider: &str, user: &str) -> String {
        let bearer = self.tokens.bearer(Self::key(provider, user)).await.unwrap();
        bearer.danger_token().danger_expose().clone()
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.followed.heard.lock().drain(..).collect()
    }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

fn providers(sandbox: &Sandbox, wanted: &Wanted, clock: &SharedClock) -> Vec<SharedProvider> {
    let calls = Calls::new(None, Duration::from_secs(3), Arc::clone(clock)).unwrap();
    let secret = |text: &str| Some(ReloadableSecret::new(Secret::new(text.to_owned())));
    let (at_calcom, at_calendly) = (sandbox.calcom().switches(), sandbox.calendly().switches());
    let url = sandbox.calcom_url();
    let (client_id, client_secret) = if wanted.public_client {
        ("sandbox-public-client", None)
    } else {
        ("sandbox-oauth2-client", secret(&at_calcom.client_secret))
    };
    let calcom = calcom::Config {
        name: "calcom".parse().unwrap(),
        api_base: ApiBase::parse(url).unwrap(),
        authorize_url: format!("{url}/auth/oauth2/authorize").parse().unwrap(),
        token_url: format!("{url}/v2/auth/oauth2/token").parse().unwrap(),
        client_id: Some(client_id.to_owned()),
        client_secret,
        redirect_uri: None,
        scope: CALCOM_SCOPE.to_owned(),
        platform_client_id: Some("sandbox-platform-client".to_owned()),
        platform_client_secret: secret(&at_calcom.calcom.platform_client_secret),
        webhook_secret: None,
        api_version: "2024-08-13".to_owned(),
    };
    let url = sandbox.calendly_url();
    let given = wanted.calendly_secret.as_ref();
    let calendly = calendly::Config {
        name: "calendly".parse().unwrap(),
        api_base: ApiBase::parse(url).unwrap(),
        auth_base: ApiBase::parse(wanted.calendly_auth.as_deref().unwrap_or(url)).unwrap(),
        client_id: wanted.calendly_id.map(str::to_owned),
        client_secret: secret(given.unwrap_or(&at_calendly.client_secret)),
        redirect_uri: None,
        scope: wanted.calendly_scope.to_owned(),
        authorize_params: vec![("prompt".to_owned(), "consent".to_owned())],
        webhook_signing_key: None,
        webhook_scope: WebhookScope::User,
    };
    vec![
        Arc::new(Calcom::new(calcom, calls.clone())),
        Arc::new(Calendly::new(calendly, calls)),
    ]
}
