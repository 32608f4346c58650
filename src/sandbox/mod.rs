//! The emulated Cal.com and Calendly: for tests, and for trying everything without an account.
//!
//! Strict by default, as mean as it is told to be. It knows nothing of the rest of the house but the
//! ground floor and HTTP, so it cannot agree with the product's mistakes: it is written from the
//! providers' behaviour, not from the client's code.
//!
//! * `serve`: the accept loop. `front`: log, limits, latency, faults. `control`: `/_sandbox`.
//! * `stage`: what both emulators stand on. `switches`: how mean. `log`: what came in.
//! * `calcom`, `calendly`: the services themselves.
//!
//! What it deliberately does not do: persist anything, check who drives it, or leave this machine.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::{front::Emulator, stage::Stage};
use crate::base::{
    clock::{SharedClock, Timestamp},
    lifecycle::Lifecycle,
    random::SharedRandom,
};

mod calcom;
mod calendly;
mod control;
mod dates;
mod front;
mod jwt;
mod log;
mod probe;
mod serve;
mod stage;
mod switches;
mod wire;

pub use self::{
    calcom::Calcom,
    calendly::Calendly,
    log::{Entry, Filter, Kind, Redemptions, Stats, TokenCall, token_id},
    switches::{
        ApiFault, ApiMischief, CalcomSwitches, CalendlySwitches, Call, Canned, ClientStatus,
        Malformation, Switches, TokenFault, TokenMischief,
    },
};

/// Where the sandbox listens, and how.
#[derive(Clone, Default)]
pub struct Options {
    /// The port of the emulated Cal.com; 0 takes a free one.
    pub calcom_port: u16,
    /// The port of the emulated Calendly; 0 takes a free one.
    pub calendly_port: u16,
    /// Serves TLS with this; its ALPN list decides between HTTP/1.1 and HTTP/2.
    pub tls: Option<Arc<ServerConfig>>,
    /// Trust for webhook targets on `https`; `None` trusts what the machine trusts.
    pub webhook_tls: Option<rustls::ClientConfig>,
    /// Makes alice and bob at each provider, with a few meetings.
    pub seed: bool,
}

/// Two running emulators. They stop when the lifecycle drains.
#[derive(Clone, Debug)]
pub struct Sandbox {
    calcom: Arc<Calcom>,
    calendly: Arc<Calendly>,
    calcom_address: SocketAddr,
    calendly_address: SocketAddr,
}

/// A user to be made. The JSON of `POST /_sandbox/users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewUser {
    /// What the sandbox calls the user; the local part of the address. Made again, the same user
    /// gets one more grant.
    pub name: String,
    /// Which family of tokens; only Cal.com has `managed`.
    pub family: Family,
    /// Space-separated scope of the grant; absent means all.
    pub scope: Option<String>,
    /// Calendly: no paid plan, hence no webhooks and 50 calls a minute.
    pub free_plan: bool,
    /// Calendly: the user (by name) whose organization this one joins; absent means an own one.
    pub colleague_of: Option<String>,
}

/// Which family of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A user who gave consent.
    #[default]
    Oauth2,
    /// Cal.com only: a user made by a platform client.
    Managed,
}

/// A user that was made, with a grant. Nothing here is secret: it opens only the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// What the sandbox calls the user.
    pub name: String,
    /// Cal.com: the numeric id; Calendly: the user URI.
    pub external_id: String,
    /// Cal.com, managed only: the numeric id.
    pub managed_user_id: Option<i64>,
    /// Calendly: the organization URI.
    pub organization: Option<String>,
    /// The address, as the provider shows it.
    pub email: String,
    /// The client that holds the grant.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// When the access token ends, by the provider's clock.
    pub access_expires_at: Timestamp,
    /// When the refresh token ends, if it ages.
    pub refresh_expires_at: Option<Timestamp>,
    /// The granted scope.
    pub scope: Option<String>,
}

/// Something to be killed. The JSON of `POST /_sandbox/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Whose, by the sandbox's name.
    pub user: String,
    /// How much.
    pub what: Killed,
}

/// How much is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killed {
    /// Access tokens only; the refresh tokens still work.
    Access,
    /// Access tokens expire now; the refresh tokens still work.
    Expire,
    /// Access and refresh tokens.
    Grant,
    /// The user.
    User,
}

// === impl Options ===

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("calcom_port", &self.calcom_port)
            .field("calendly_port", &self.calendly_port)
            .field("tls", &self.tls.is_some())
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

// === impl Sandbox ===

impl Sandbox {
    /// Binds both listeners on loopback and serves until `lifecycle` drains.
    ///
    /// # Errors
    ///
    /// A port is taken, or the client for webhooks cannot be built.
    pub async fn start(
        options: Options,
        lifecycle: Lifecycle,
        clock: SharedClock,
        random: SharedRandom,
    ) -> io::Result<Self> {
        let deliveries = delivery_client(options.webhook_tls)?;
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let listen = async |port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let address = listener.local_addr()?;
            // The name, not the address: certificates are made for names.
            let host = if options.tls.is_some() {
                "localhost"
            } else {
                "127.0.0.1"
            };
            let stage = Stage::new(
                format!("{scheme}://{host}:{}", address.port()),
                lifecycle.clone(),
                Arc::clone(&clock),
                Arc::clone(&random),
                deliveries.clone(),
            );
            Ok::<_, io::Error>((listener, address, stage))
        };
        let (calcom_listener, calcom_address, stage) = listen(options.calcom_port).await?;
        let calcom = Arc::new(Calcom::new(stage));
        let (calendly_listener, calendly_address, stage) = listen(options.calendly_port).await?;
        let calendly = Arc::new(Calendly::new(stage));
        open(
            calcom_listener,
            options.tls.clone(),
            &calcom,
            calcom::router(&calcom),
        );
        open(
            calendly_listener,
            options.tls,
            &calendly,
            calendly::router(&calendly),
        );
        let sandbox = Self {
            calcom,
            calendly,
            calcom_address,
            calendly_address,
        };
        if options.seed {
            sandbox.seed().map_err(io::Error::other)?;
        }
        Ok(sandbox)
    }

    /// Scheme, host and port of the emulated Cal.com, without a slash.
    pub fn calcom_url(&self) -> &str {
        &self.calcom.stage().base_url
    }

    /// Scheme, host and port of the emulated Calendly, without a slash.
    pub fn calendly_url(&self) -> &str {
        &self.calendly.stage().base_url
    }

    /// Where the emulated Cal.com listens.
    pub const fn calcom_address(&self) -> SocketAddr {
        self.calcom_address
    }

    /// Where the emulated Calendly listens.
    pub const fn calendly_address(&self) -> SocketAddr {
        self.calendly_address
    }

    /// The handle of the emulated Cal.com.
    pub const fn calcom(&self) -> &Arc<Calcom> {
        &self.calcom
    }

    /// The handle of the emulated Calendly.
    pub const fn calendly(&self) -> &Arc<Calendly> {
        &self.calendly
    }

    /// Makes alice and bob at both providers. Repeatable: they only get one more grant.
    ///
    /// # Errors
    ///
    /// A provider refused its own seed, which would be a bug of the sandbox.
    pub fn seed(&self) -> Result<(), String> {
        for name in ["alice", "bob"] {
            let order = NewUser::named(name);
            self.calcom.create_user(&order)?;
            self.calendly.create_user(&order)?;
        }
        Ok(())
    }
}

fn open<E: Emulator>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    emulator: &Arc<E>,
    router: Router,
) {
    let router = router.merge(control::routes(Arc::clone(emulator)));
    let lifecycle = emulator.stage().lifecycle.clone();
    let emulator = Arc::clone(emulator);
    serve::serve(listener, tls, &lifecycle, move |request| {
        front::answer(Arc::clone(&emulator), router.clone(), request)
    });
}

/// Redirects are failures; 10 s to connect and 15 s to answer (Calendly, webhook timeouts page).
fn delivery_client(tls: Option<rustls::ClientConfig>) -> io::Result<reqwest::Client> {
    crate::http::tls::install_crypto();
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(15));
    let builder = match tls {
        Some(tls) => builder.tls_backend_preconfigured(tls),
        None => builder,
    };
    builder.build().map_err(io::Error::other)
}

// === impl NewUser ===

impl NewUser {
    /// A user with a full grant of the usual family.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A user of Cal.com's platform client.
    pub fn managed(name: &str) -> Self {
        Self {
            family: Family::Managed,
            ..Self::named(name)
        }
    }
}
