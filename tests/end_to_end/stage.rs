//! A world whose sidecars share a store and one address, at which they take webhooks, and deliver to one
//! app that has a handler for each user.

use std::{fs, path::PathBuf, time::Duration};

use daypass::{
    base::steps::{HELD, Step},
    sandbox::{Booked, BookingOrder},
};
use http::{Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;
use url::Url;

use crate::{
    app::App,
    arrivals::{self, HANDLERS, Happened, SECRET},
    front::Front,
    sidecar::{Answer, Sidecar, until, until_within},
    stores::On,
    world::World,
};

/// The two services, each with the events that a booking sets off.
pub(crate) const CALENDLY: &str = "calendly";
pub(crate) const CALCOM: &str = "calcom";

/// Longer than it takes another sidecar to find what a dead one has claimed, which is fifteen seconds at
/// most, on a machine that is busy.
const TAKEOVER: Duration = Duration::from_secs(45);

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) app: App,
    pub(crate) front: Front,
    happened: Mutex<Vec<Happened>>,
}

/// A sidecar that waits where its file says.
pub(crate) struct Holdable {
    pub(crate) sidecar: Sidecar,
    file: PathBuf,
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn open(on: On, settings: &[&str]) -> Self {
        Self::open_below("", on, settings).await
    }

    /// With `path` at the end of the public address, which nobody takes away.
    pub(crate) async fn open_below(path: &str, on: On, settings: &[&str]) -> Self {
        let (app, front) = (App::start().await, Front::open().await);
        let mut world = World::open()
            .await
            .with(&format!("ingress.public_url={}{path}", front.url))
            .with(&format!("ingress.allowed_return_origins={}", app.url))
            .with(&format!("app.webhook_url={}{HANDLERS}", app.url))
            .with(&format!("app.signing_secret={SECRET}"));
        if let Some(url) = on.fresh().await {
            let spool = world.path("spool");
            world = world
                .with(&format!("store.url={url}"))
                .with(&format!("store.spool_dir={}", spool.display()));
        }
        for setting in settings {
            world = world.with(setting);
        }
        // A day of retries in minutes, the first after a fifth of a second.
        let hurried = |switches: &mut daypass::sandbox::Switches| {
            switches.webhook_compression = 300;
        };
        world.sandbox.calendly().set(hurried);
        Self {
            world,
            app,
            front,
            happened: Mutex::default(),
        }
    }

    /// Starts a sidecar that can be held, under a name of its own.
    pub(crate) async fn holdable(&self, name: &str) -> Holdable {
        let file = self.world.path(&format!("hold-{name}"));
        let told = [("TEST_HOLD_FILE", file.to_str().unwrap())];
        let sidecar = self.world.sidecar_told(&told).await;
        Holdable { sidecar, file }
    }

    /// Lets `user` of the app connect as the sandbox's `name`; where consent was asked for.
    pub(crate) async fn connect(
        &self,
        sidecar: &Sidecar,
        provider: &str,
        user: &str,
        name: &str,
    ) -> Url {
        let consent = |name: Option<String>| {
            let sandbox = &self.world.sandbox;
            let set = |switches: &mut daypass::sandbox::Switches| switches.consent_as = name;
            if provider == CALCOM {
                sandbox.calcom().set(set);
            } else {
                sandbox.calendly().set(set);
            }
        };
        consent(Some(name.to_owned()));
        let return_to = json!({ "return_to": format!("{}/settings", self.app.url) });
        let path = format!("/-/{provider}/connect-link");
        let link = sidecar.request(Method::POST, user, &path);
        let link = Answer::read(link.json(&return_to)).await;
        let link = link.must_be(200).json()["url"].as_str().unwrap().to_owned();
        assert!(link.starts_with(&self.front.url), "{link}");
        let first = self.world.http.get(link).send().await.unwrap();
        assert_eq!(first.status(), StatusCode::FOUND);
        let cookie = first.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let authorize: Url = location(&first).parse().unwrap();
        let consented = self.world.http.get(authorize.clone()).send().await.unwrap();
        let callback = self.world.http.get(location(&consented));
        let callback = callback.header(header::COOKIE, cookie);
        let back = callback.send().await.unwrap();
        assert_eq!(back.status(), StatusCode::SEE_OTHER, "{back:?}");
        let returned: Url = location(&back).parse().unwrap();
        assert_eq!(returned.path(), "/settings");
        let query = returned.query().unwrap_or_default();
        assert!(query.contains("connection=connected"), "{returned}");
        consent(None);
        authorize
    }

    /// Makes a managed user of Cal.com for `user` of the app, called `name` there.
    pub(crate) async fn create_managed(&self, sidecar: &Sidecar, user: &str, name: &str) {
        let order = json!({
            "provider": CALCOM,
            "user": user,
            "email": format!("{name}@example.com"),
            "name": name,
        });
        let url = format!("{}/v1/managed-users", sidecar.admin);
        let made = Answer::read(self.world.http.post(url).json(&order)).await;
        assert_eq!(made.must_be(201).json()["outcome"], "created", "{made:?}");
    }

    /// Waits until `count` webhook subscriptions were made, by whichever of `sidecars`.
    pub(crate) async fn until_subscribed(&self, sidecars: &[&Sidecar], count: usize) {
        until("webhooks are subscribed to", async || {
            let lines = sidecars.iter().flat_map(|sidecar| sidecar.log.lines());
            let made = lines.filter(|line| line["message"] == "webhooks are subscribed to");
            (made.count() >= count).then_some(())
        })
        .await;
    }

    /// Somebody books the sandbox's `name`, who is `users` of the app; nobody waits.
    pub(crate) fn book(
        &self,
        provider: &'static str,
        name: &str,
        users: &[&'static str],
    ) -> Happened {
        self.happens(provider, &BookingOrder::create(name), users).1
    }

    /// The same, and the provider is answered.
    pub(crate) async fn book_and_wait(
        &self,
        provider: &'static str,
        name: &str,
        users: &[&'static str],
    ) -> Happened {
        let before = self.acknowledged(provider);
        let order = BookingOrder::create(name);
        let (booked, happened) = self.happens(provider, &order, users);
        self.until_acknowledged(provider, before + booked.deliveries)
            .await;
        happened
    }

    /// Something happens to a booking, or a booking happens.
    pub(crate) fn happens(
        &self,
        provider: &'static str,
        order: &BookingOrder,
        users: &[&'static str],
    ) -> (Booked, Happened) {
        use daypass::sandbox::Action;

        let sandbox = &self.world.sandbox;
        // Written down before it is told: it may arrive at once.
        let mut all = self.happened.lock();
        let (booked, event) = match (provider, order.action) {
            (CALCOM, Action::Create) => (sandbox.calcom().book(order), "BOOKING_CREATED"),
            (CALCOM, Action::Start) => (sandbox.calcom().book(order), "MEETING_STARTED"),
            (_, Action::Create) => (sandbox.calendly().book(order), "invitee.created"),
            (_, other) => panic!("{other:?} is not told of"),
        };
        let booked = booked.unwrap();
        assert!(booked.deliveries > 0, "nobody listens at {provider}");
        let happened = Happened {
            provider,
            event,
            booking: booked.id.clone(),
            users: users.to_vec(),
        };
        all.push(happened.clone());
        (booked, happened)
    }

    /// How many webhooks of `provider` were answered with 2xx.
    pub(crate) fn acknowledged(&self, provider: &str) -> usize {
        let sandbox = &self.world.sandbox;
        let sent = match provider {
            CALCOM => sandbox.calcom().deliveries(),
            _ => sandbox.calendly().deliveries(),
        };
        let good = sent.iter().filter(|sent| (200..300).contains(&sent.status));
        good.count()
    }

    pub(crate) async fn until_acknowledged(&self, provider: &str, count: usize) {
        until("the provider is answered", async || {
            (self.acknowledged(provider) >= count).then_some(())
        })
        .await;
    }

    /// Waits until everything that has happened has come to everybody whose it is.
    pub(crate) async fn until_all_came(&self) {
        until_within(
            TAKEOVER,
            "what has happened arrives at the app",
            async || {
                // In this order: what came has happened.
                let taken = self.app.taken();
                let happened = self.happened.lock().clone();
                arrivals::judge_so_far(&taken, &happened);
                let missing = arrivals::missing(&taken, &happened);
                missing.is_empty().then_some(())
            },
        )
        .await;
    }

    /// Waits for all that has happened, and judges it.
    pub(crate) async fn judge(&self) {
        self.until_all_came().await;
        let taken = self.app.taken();
        arrivals::judge(&taken, &self.happened.lock());
    }

    /// How often `happened` came to `user`.
    pub(crate) fn copies(&self, happened: &Happened, user: &str) -> usize {
        arrivals::copies(&self.app.taken(), happened, user)
    }

    /// Which events of Daypass's own came for `user`, in this order.
    pub(crate) fn told(&self, user: &str) -> Vec<String> {
        let taken = self.app.taken();
        let own = taken.iter().filter(|taken| {
            let event = taken.header("daypass-event");
            event.starts_with("connection.") || event.starts_with("meetings.")
        });
        own.filter(|taken| taken.header("x-user-id") == user)
            .map(|taken| taken.header("daypass-event").to_owned())
            .collect()
    }
}

// === impl Holdable ===

impl Holdable {
    /// From now on it waits at `step`.
    pub(crate) fn hold_at(&self, step: Step) {
        // Whoever reads it meanwhile must not read half of it.
        let beside = self.file.with_extension("new");
        fs::write(&beside, step.as_str()).unwrap();
        fs::rename(beside, &self.file).unwrap();
    }

    /// It goes on.
    pub(crate) fn let_go(&self) {
        fs::remove_file(&self.file).unwrap();
    }

    /// How many waited at `step` so far.
    pub(crate) fn held_at(&self, step: Step) -> usize {
        let lines = self.sidecar.log.lines();
        let held = lines.iter().filter(|line| line["message"] == HELD);
        held.filter(|line| line["step"] == step.as_str()).count()
    }

    /// Waits until `count` have waited at `step`.
    pub(crate) async fn until_held_at(&self, step: Step, count: usize) {
        until(step.as_str(), async || {
            (self.held_at(step) >= count).then_some(())
        })
        .await;
    }
}

fn location(answer: &reqwest::Response) -> String {
    answer.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .to_owned()
}
