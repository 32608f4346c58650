//! Two emulated providers, a store in a file, real tokens, and the rooms of the other direction, as
//! many times as there are sidecars.
//!
//! One clock, moved by hand, is the store's, the sidecars' and the providers'. Workers are rung, so
//! that nothing waits for their next look.

use std::{net::TcpListener as StdListener, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::HeaderMap,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use daypass::{
    base::{
        clock::{Clock as _, ManualClock, Timestamp},
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
        secret::Secret,
    },
    http::tls::install_crypto,
    provider::{Account, SharedProvider},
    sandbox::{
        ApiFault, Booked, BookingOrder, Created, Entry, Filter, NewUser, Options, Sandbox, Switches,
    },
    store::{
        Deliveries, Delivery, DeliveryFilter,
        seal::{Key, KeyRing},
        sqlite::Sqlite,
    },
    token::{self, Grant, GrantTokens, Tokens, Unobserved},
};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::rooms::{Rooms, providers};

/// 2027-01-15T08:00:00Z, as in the other tests.
const START: Timestamp = crate::world::START;

/// Both providers.
pub(crate) const BOTH: [&str; 2] = ["calendly", "calcom"];

/// Everything beside the sidecars.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<Sqlite>,
    pub(crate) tokens: Tokens,
    /// Where providers reach the sidecars.
    pub(crate) public: String,
    pub(crate) http: reqwest::Client,
    pub(crate) place: TempDir,
    /// Whether meetings are kept.
    pub(crate) keeps_meetings: bool,
    /// What came to the sidecars' ingress, in order.
    pub(crate) came: Arc<Mutex<Vec<Came>>>,
    pub(crate) providers: Vec<SharedProvider>,
    pub(crate) keys: Arc<KeyRing>,
    listener: StdListener,
    lifecycle: Lifecycle,
}

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Came {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) fn key(provider: &str, user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse(provider).unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

/// The provider's id of what was booked.
pub(crate) fn meeting_id(booked: &Booked) -> String {
    booked.uri.clone().unwrap_or_else(|| booked.id.clone())
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let found = timeout(Duration::from_mins(1), looking).await;
    found.unwrap_or_else(|_late| panic!("waited in vain: {what}"))
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn open() -> Self {
        install_crypto();
        let (lifecycle, clock) = (Lifecycle::new(), ManualClock::new(START));
        let shared = Arc::new(clock.clone());
        let options = Options::default();
        let random = Arc::new(OsRandom);
        let started =
            Sandbox::start(options, lifecycle.clone(), Arc::new(clock.clone()), random).await;
        let sandbox = started.unwrap();
        let unlimited =
            |switches: &mut Switches| (switches.api_per_minute, switches.token_per_minute) = (0, 0);
        sandbox.calcom().set(unlimited);
        sandbox.calendly().set(unlimited);
        let place = tempfile::tempdir().unwrap();
        let store = Sqlite::open(place.path().join("daypass.db"), Arc::new(clock.clone())).unwrap();
        let store = Arc::new(store);
        let key = Key::new("k1", &Secret::new([7; 32])).unwrap();
        let keys = Arc::new(KeyRing::new("k1", vec![key]).unwrap());
        let providers = providers(&sandbox, &clock);
        let tokens = Tokens::start(token::Parts {
            config: token::Config::default(),
            store: Arc::clone(&store) as _,
            providers: providers.clone(),
            keys: Arc::clone(&keys),
            spool_dir: place.path().join("spool"),
            clock: shared,
            random: Arc::new(OsRandom),
            lifecycle: lifecycle.clone(),
            observer: Arc::new(Unobserved),
        });
        let tokens = tokens.await.unwrap();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            public: format!("http://{}", listener.local_addr().unwrap()),
            sandbox,
            clock,
            store,
            tokens,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            place,
            keeps_meetings: true,
            came: Arc::default(),
            keys,
            providers,
            listener,
            lifecycle,
        }
    }

    /// The rooms of one more sidecar, at the same address as the others'.
    pub(crate) fn sidecar(&self) -> Rooms {
        let rooms = Rooms::open(self);
        self.serve(&rooms);
        rooms.sync.work();
        rooms.subscriptions.watch();
        rooms
    }

    fn serve(&self, rooms: &Rooms) {
        let listener = TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let record = from_fn_with_state(Arc::clone(&self.came), record);
        let router = rooms.intake.clone().router().layer(record);
        rooms.lifecycle.spawn_until_drain(async move {
            axum::serve(listener, router).await.unwrap();
        });
    }

    /// Makes a user of the same name at the provider, and connects them.
    pub(crate) async fn connect(&self, provider: &str, user: &str) -> Created {
        self.connect_as(provider, user, &NewUser::named(user)).await
    }

    /// The same, with another order.
    pub(crate) async fn connect_as(&self, provider: &str, user: &str, order: &NewUser) -> Created {
        let created = match provider {
            "calcom" => self.sandbox.calcom().create_user(order),
            _ => self.sandbox.calendly().create_user(order),
        };
        let created = created.unwrap();
        let account = Account {
            external_id: Some(created.external_id.clone()),
            organization: created.organization.clone(),
            managed_user_id: created.managed_user_id,
        };
        self.save(&key(provider, user), account, &created).await;
        created
    }

    /// Saves a grant as whoever imports one does: nobody is told.
    pub(crate) async fn save(&self, key: &ConnectionKey, account: Account, created: &Created) {
        let grant = Grant {
            key: key.clone(),
            account,
            tokens: Some(GrantTokens {
                access: Secret::from(created.access_token.clone()),
                refresh: Some(Secret::from(created.refresh_token.clone())),
                expires_at: Some(created.access_expires_at),
                refresh_expires_at: created.refresh_expires_at,
                issued_at: None,
            }),
            scope: created.scope.clone(),
            once: false,
        };
        self.tokens.save(&[grant]).await.unwrap();
    }

    pub(crate) fn book(&self, provider: &str, order: &BookingOrder) -> Booked {
        match provider {
            "calcom" => self.sandbox.calcom().book(order).unwrap(),
            _ => self.sandbox.calendly().book(order).unwrap(),
        }
    }

    /// Books `count` meetings of `user`, an hour apart.
    pub(crate) fn fill(&self, provider: &str, user: &str, count: u64) {
        for hour in 1..=count {
            let start = self.clock.now().saturating_add(Duration::from_hours(hour));
            let order = BookingOrder {
                start: Some(start),
                attendee_email: Some(format!("guest-{hour}@x.test")),
                ..BookingOrder::create(user)
            };
            self.book(provider, &order);
        }
    }

    pub(crate) fn fault(&self, provider: &str, fault: ApiFault) {
        match provider {
            "calcom" => self.sandbox.calcom().fault_api(fault),
            _ => self.sandbox.calendly().fault_api(fault),
        }
    }

    pub(crate) fn set(&self, provider: &str, change: impl FnOnce(&mut Switches)) {
        match provider {
            "calcom" => self.sandbox.calcom().set(change),
            _ => self.sandbox.calendly().set(change),
        }
    }

    /// The requests of a method whose path begins so, the oldest first.
    pub(crate) fn requests(&self, provider: &str, method: &str, path: &str) -> Vec<Entry> {
        let filter = Filter {
            path: Some(path.to_owned()),
            ..Filter::default()
        };
        let mut entries = match provider {
            "calcom" => self.sandbox.calcom().entries(&filter),
            _ => self.sandbox.calendly().entries(&filter),
        };
        entries.retain(|entry| entry.method == method);
        entries
    }

    /// How many subscriptions the provider has made.
    pub(crate) fn subscribed(&self, provider: &str) -> usize {
        let path = match provider {
            "calcom" => "/v2/webhooks",
            _ => "/webhook_subscriptions",
        };
        let made = self.requests(provider, "POST", path);
        made.iter().filter(|entry| entry.status == 201).count()
    }

    /// All deliveries, the oldest first.
    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        let all = DeliveryFilter::default();
        let mut found = self.store.deliveries(&all, None, 1000).await.unwrap();
        found.reverse();
        found
    }

    /// The users of all deliveries, the oldest first, once there are `count`; `-` is nobody.
    pub(crate) async fn until_delivered(&self, count: usize) -> Vec<String> {
        until("events come", async || {
            let found = self.deliveries().await;
            let users = found.into_iter().map(|found| match found.user {
                Some(user) => user.to_string(),
                None => "-".to_owned(),
            });
            let users: Vec<String> = users.collect();
            (users.len() >= count).then_some(users)
        })
        .await
    }

    /// Sends a request again, to `path`.
    pub(crate) async fn send_again(&self, came: &Came, path: &str) -> u16 {
        let request = self.http.post(format!("{}{path}", self.public));
        let request = request.headers(came.headers.clone());
        let answer = request.body(came.body.clone()).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Whether any file of the store holds `needle`.
    pub(crate) fn store_shows(&self, needle: &str) -> bool {
        std::fs::read_dir(self.place.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
            bytes
                .windows(needle.len())
                .any(|part| part == needle.as_bytes())
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

async fn record(
    State(came): State<Arc<Mutex<Vec<Came>>>>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    came.lock().push(Came {
        path: head.uri.path().to_owned(),
        headers: head.headers.clone(),
        body: body.clone(),
    });
    next.run(Request::from_parts(head, Body::from(body))).await
}
