//! A sandbox, and providers that live on it.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::ProviderName,
        lifecycle::Lifecycle,
        random::SeededRandom,
        secret::{ReloadableSecret, Secret},
    },
    provider::{
        Account, ApiBase, ApiError, Calls, Consent, Meetings, Provider, Webhooks,
        calcom::{self, Calcom},
        calendly::{self, Calendly, WebhookScope},
    },
    sandbox::{Created, Kind, NewUser, Options, Sandbox},
};
use http::{HeaderMap, StatusCode};
use tokio::sync::mpsc;
use url::Url;

/// 2026-11-21T05:36:03Z.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_239_363);

/// The callback of a connection.
pub(crate) const HOOK: &str = "http://127.0.0.1:9/webhooks/x/route";

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    lifecycle: Lifecycle,
}

/// A sandbox user, as the rest of the house knows a connection.
pub(crate) struct User {
    pub(crate) account: Account,
    pub(crate) token: Secret<String>,
    pub(crate) refresh: Secret<String>,
    pub(crate) scope: Option<String>,
}

impl World {
    pub(crate) async fn open() -> Self {
        daypass::http::tls::install_crypto();
        let (clock, lifecycle) = (ManualClock::new(NOW), Lifecycle::new());
        let sandbox = Sandbox::start(
            Options::default(),
            lifecycle.clone(),
            Arc::new(clock.clone()),
            Arc::new(SeededRandom::new(7)),
        );
        Self {
            sandbox: sandbox.await.unwrap(),
            clock,
            lifecycle,
        }
    }

    fn calls(&self) -> Calls {
        let clock = Arc::new(self.clock.clone());
        Calls::new(None, Duration::from_secs(20), clock).unwrap()
    }

    pub(crate) fn calendly(&self) -> Calendly {
        self.calendly_with(|_| {})
    }

    pub(crate) fn calendly_with(&self, change: impl FnOnce(&mut calendly::Config)) -> Calendly {
        let base = ApiBase::parse(self.sandbox.calendly_url()).unwrap();
        let mut config = calendly::Config {
            name: ProviderName::parse("calendly").unwrap(),
            api_base: base.clone(),
            auth_base: base,
            client_id: Some("sandbox-calendly-client".to_owned()),
            client_secret: Some(setting("sandbox-client-secret")),
            redirect_uri: None,
            scope: String::new(),
            authorize_params: vec![("prompt".to_owned(), "consent".to_owned())],
            webhook_signing_key: None,
            webhook_scope: WebhookScope::User,
        };
        change(&mut config);
        Calendly::new(config, self.calls())
    }

    pub(crate) fn calcom(&self) -> Calcom {
        self.calcom_with(|_| {})
    }

    pub(crate) fn calcom_with(&self, change: impl FnOnce(&mut calcom::Config)) -> Calcom {
        let base = self.sandbox.calcom_url();
        let url = |path: &str| Url::parse(&format!("{base}{path}")).unwrap();
        let mut config = calcom::Config {
            name: ProviderName::parse("calcom").unwrap(),
            api_base: ApiBase::parse(base).unwrap(),
            authorize_url: url("/auth/oauth2/authorize"),
            token_url: url("/v2/auth/oauth2/token"),
            client_id: Some("sandbox-oauth2-client".to_owned()),
            client_secret: Some(setting("sandbox-client-secret")),
            redirect_uri: None,
            scope: "PROFILE_READ BOOKING_READ WEBHOOK_READ WEBHOOK_WRITE".to_owned(),
            platform_client_id: Some("sandbox-platform-client".to_owned()),
            platform_client_secret: Some(setting("sandbox-platform-secret")),
            webhook_secret: None,
            api_version: "2024-08-13".to_owned(),
        };
        change(&mut config);
        Calcom::new(config, self.calls())
    }

    pub(crate) fn calendly_user(&self, order: &NewUser) -> User {
        User::from(self.sandbox.calendly().create_user(order).unwrap())
    }

    pub(crate) fn calcom_user(&self, order: &NewUser) -> User {
        User::from(self.sandbox.calcom().create_user(order).unwrap())
    }

    /// A receiver of webhooks that answers everything with `status`.
    pub(crate) async fn inbox(&self, status: StatusCode) -> Inbox {
        let (sender, received) = mpsc::unbounded_channel();
        let take = move |headers: HeaderMap, body: bytes::Bytes| async move {
            let _gone = sender.send((headers, body.to_vec()));
            status
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        drop(self.lifecycle.spawn(async move {
            let router = axum::Router::new().fallback(take);
            axum::serve(listener, router).await.unwrap();
        }));
        Inbox {
            url: Url::parse(&url).unwrap(),
            received,
        }
    }
}

/// A receiver of webhooks.
pub(crate) struct Inbox {
    pub(crate) url: Url,
    received: mpsc::UnboundedReceiver<(HeaderMap, Vec<u8>)>,
}

impl Inbox {
    pub(crate) async fn next(&mut self) -> (HeaderMap, Vec<u8>) {
        let waited = tokio::time::timeout(Duration::from_secs(10), self.received.recv()).await;
        waited.expect("a webhook comes").unwrap()
    }
}

impl From<Created> for User {
    fn from(created: Created) -> Self {
        Self {
            account: Account {
                external_id: Some(created.external_id),
                organization: created.organization,
                managed_user_id: created.managed_user_id,
            },
            token: secret(&created.access_token),
            refresh: secret(&created.refresh_token),
            scope: created.scope,
        }
    }
}

/// Both providers, for what they do alike.
pub(crate) enum Either {
    Calendly(Calendly),
    Calcom(Calcom),
}

impl Either {
    pub(crate) fn both(world: &World) -> [(Self, User); 2] {
        let named = NewUser::named("alice");
        [
            (
                Self::Calendly(world.calendly()),
                world.calendly_user(&named),
            ),
            (Self::Calcom(world.calcom()), world.calcom_user(&named)),
        ]
    }

    pub(crate) fn provider(&self) -> &dyn Provider {
        match self {
            Self::Calendly(provider) => provider,
            Self::Calcom(provider) => provider,
        }
    }

    pub(crate) fn consent(&self) -> &dyn Consent {
        self.provider().consent().unwrap()
    }

    pub(crate) fn webhooks(&self) -> &dyn Webhooks {
        self.provider().webhooks().unwrap()
    }

    pub(crate) fn meetings(&self) -> &dyn Meetings {
        self.provider().meetings().unwrap()
    }

    pub(crate) fn fault(&self, world: &World, fault: daypass::sandbox::ApiFault) {
        match self {
            Self::Calendly(_) => world.sandbox.calendly().fault_api(fault),
            Self::Calcom(_) => world.sandbox.calcom().fault_api(fault),
        }
    }

    /// How many API calls the service has seen.
    pub(crate) fn api_calls(&self, world: &World) -> usize {
        let filter = daypass::sandbox::Filter {
            kind: Some(Kind::Api),
            ..Default::default()
        };
        match self {
            Self::Calendly(_) => world.sandbox.calendly().entries(&filter).len(),
            Self::Calcom(_) => world.sandbox.calcom().entries(&filter).len(),
        }
    }
}

pub(crate) fn secret(text: &str) -> Secret<String> {
    Secret::from(text.to_owned())
}

fn setting(text: &str) -> ReloadableSecret {
    ReloadableSecret::new(secret(text))
}

pub(crate) fn hook() -> Url {
    Url::parse(HOOK).unwrap()
}

/// What came of a call, in a word.
pub(crate) fn outcome<T>(result: &Result<T, ApiError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(ApiError::TokenRefused { .. }) => "token refused",
        Err(ApiError::AccountGone { .. }) => "gone",
        Err(ApiError::Forbidden { .. }) => "forbidden",
        Err(ApiError::RateLimited { .. }) => "limited",
        Err(ApiError::NotFound { .. }) => "not found",
        Err(error) if error.is_transient() => "transient",
        Err(_) => "other",
    }
}
