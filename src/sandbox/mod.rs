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
use tokio::net::TcpListener;

use self::{front::Emulator, stage::Stage};
use crate::base::{clock::SharedClock, lifecycle::Lifecycle, random::SharedRandom};

mod calcom;
mod calendly;
mod consent;
mod control;
mod dates;
mod deliver;
mod front;
mod jwt;
mod log;
mod orders;
mod probe;
mod serve;
mod stage;
mod switches;
mod wire;

pub use self::{
    calcom::Calcom,
    calendly::Calendly,
    deliver::Delivery,
    log::{Entry, Filter, Kind, Redemptions, Stats, TokenCall, token_id},
    orders::{
        Action, Announced, Announcement, Booked, BookingOrder, Created, Disable, Family, Killed,
        NewUser, Revoke,
    },
    switches::{
        ApiFault, ApiMischief, CalcomSwitches, CalendlySwitches, Call, Canned, ClientStatus,
        Malformation, SameWebhook, Switches, TokenFault, TokenMischief,
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

    /// Makes alice and bob at both providers, with three meetings each. Made again, they get one
    /// more grant and three more meetings.
    ///
    /// # Errors
    ///
    /// A provider refused its own seed, which would be a bug of the sandbox.
    pub fn seed(&self) -> Result<(), String> {
        let random = &self.calcom.stage().random;
        let now = self.calcom.stage().clock.now();
        for name in ["alice", "bob"] {
            self.calcom.create_user(&NewUser::named(name))?;
            self.calendly.create_user(&NewUser::named(name))?;
            for day in 1_u64..=3 {
                let quarters = random.next_u64() % 32;
                let order = BookingOrder {
                    start: Some(
                        now.saturating_add(Duration::from_mins(day * 1440 + quarters * 15)),
                    ),
                    attendee_email: Some(format!("guest{day}@example.com")),
                    ..BookingOrder::create(name)
                };
                self.calcom.book(&order)?;
                self.calendly.book(&order)?;
            }
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
    let handler: serve::Handler = Arc::new(move |request| {
        Box::pin(front::answer(
            Arc::clone(&emulator),
            router.clone(),
            request,
        ))
    });
    serve::serve(listener, tls, &lifecycle, handler);
}

/// Redirects are failures; 10 s to connect and 15 s to answer (Calendly, webhook timeouts page). No
/// connection is used twice: deliveries come from many machines, and what Cal.com sends once must not
/// get lost on a connection to a process that has ended.
fn delivery_client(tls: Option<rustls::ClientConfig>) -> io::Result<reqwest::Client> {
    crate::http::tls::install_crypto();
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(15));
    let builder = match tls {
        Some(tls) => builder.tls_backend_preconfigured(tls),
        None => builder,
    };
    builder.build().map_err(io::Error::other)
}
