//! The rooms of the other direction, as one sidecar has them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::ManualClock,
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
        secret::{ReloadableSecret, Secret},
    },
    meeting::{self, Archive, Enricher, Followers, Meeting, Stage as Reached, Sync, sync},
    provider::{
        ApiBase, Calls, Event, SharedProvider,
        calcom::{self, Calcom},
        calendly::{self, Calendly, WebhookScope},
    },
    sandbox::Sandbox,
    store::{self, MeetingFilter},
    webhook::{Intake, Subscriptions, Verdict, Witness, intake, subscription},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    ingress::{CALCOM_KEY, CALENDLY_KEY},
    stage::{Stage, key, until},
    world::config,
};

/// The rooms of one sidecar. They end when this is dropped.
pub(crate) struct Rooms {
    pub(crate) subscriptions: Subscriptions,
    pub(crate) sync: Sync,
    pub(crate) archive: Archive,
    pub(crate) intake: Intake,
    /// How many meetings were new or changed in each sync that came to its end.
    pub(crate) synced: Arc<Mutex<Vec<u64>>>,
    pub(crate) lifecycle: Lifecycle,
}

/// Has the meetings of new events read, as the application does.
struct Enriching(Option<Enricher>);

struct Synced(Arc<Mutex<Vec<u64>>>);

fn subscriptions(stage: &Stage, lifecycle: &Lifecycle) -> Subscriptions {
    Subscriptions::new(subscription::Parts {
        public_url: Some(stage.public.parse().unwrap()),
        providers: stage.providers.clone(),
        store: Arc::clone(&stage.store) as _,
        tokens: Arc::new(stage.tokens.clone()),
        keys: Arc::clone(&stage.keys),
        clock: Arc::new(stage.clock.clone()),
        random: Arc::new(OsRandom),
        lifecycle: lifecycle.clone(),
    })
}

/// With whoever reads the meetings of what it takes, if they are kept.
fn intake(stage: &Stage, archive: &Archive, sync: &Sync, lifecycle: &Lifecycle) -> Intake {
    let enricher = stage.keeps_meetings.then(|| {
        Enricher::new(
            &stage.providers,
            archive.clone(),
            sync.clone(),
            Arc::new(stage.tokens.clone()),
            lifecycle.clone(),
        )
    });
    Intake::new(intake::Parts {
        config: config("http://127.0.0.1:9/"),
        max_body_bytes: 1 << 20,
        providers: stage.providers.clone(),
        store: Arc::clone(&stage.store) as _,
        tokens: Arc::new(stage.tokens.clone()),
        keys: Arc::clone(&stage.keys),
        accepted: Arc::new(Notify::new()),
        witness: Arc::new(Enriching(enricher)),
        clock: Arc::new(stage.clock.clone()),
        random: Arc::new(OsRandom),
        lifecycle: lifecycle.clone(),
    })
}

/// Both providers, at the sandbox.
pub(crate) fn providers(sandbox: &Sandbox, clock: &ManualClock) -> Vec<SharedProvider> {
    let calls = Calls::new(None, Duration::from_secs(20), Arc::new(clock.clone())).unwrap();
    let setting = |text: &str| Some(ReloadableSecret::new(Secret::from(text.to_owned())));
    let base = ApiBase::parse(sandbox.calendly_url()).unwrap();
    let calendly = calendly::Config {
        name: ProviderName::parse("calendly").unwrap(),
        api_base: base.clone(),
        auth_base: base,
        client_id: Some("sandbox-calendly-client".to_owned()),
        client_secret: setting(&sandbox.calendly().switches().client_secret),
        redirect_uri: None,
        scope: String::new(),
        authorize_params: Vec::new(),
        webhook_signing_key: setting(CALENDLY_KEY),
        webhook_scope: WebhookScope::User,
    };
    let at = sandbox.calcom_url();
    let calcom = calcom::Config {
        name: ProviderName::parse("calcom").unwrap(),
        api_base: ApiBase::parse(at).unwrap(),
        authorize_url: format!("{at}/auth/oauth2/authorize").parse().unwrap(),
        token_url: format!("{at}/v2/auth/oauth2/token").parse().unwrap(),
        client_id: Some("sandbox-oauth2-client".to_owned()),
        client_secret: setting(&sandbox.calcom().switches().client_secret),
        redirect_uri: None,
        scope: "PROFILE_READ BOOKING_READ WEBHOOK_READ WEBHOOK_WRITE".to_owned(),
        platform_client_id: None,
        platform_client_secret: None,
        webhook_secret: setting(CALCOM_KEY),
        api_version: "2024-08-13".to_owned(),
    };
    vec![
        Arc::new(Calendly::new(calendly, calls.clone())),
        Arc::new(Calcom::new(calcom, calls)),
    ]
}

// === impl Rooms ===

impl Rooms {
    pub(crate) fn open(stage: &Stage) -> Self {
        let (lifecycle, synced) = (Lifecycle::new(), Arc::<Mutex<Vec<u64>>>::default());
        let archive = Archive::new(
            Arc::clone(&stage.store) as _,
            Arc::clone(&stage.keys),
            Arc::new(OsRandom),
        );
        let sync = Sync::new(sync::Parts {
            config: meeting::Config {
                store: stage.keeps_meetings,
                sync_past: Duration::from_hours(24 * 30),
                sync_future: Duration::from_hours(24 * 365),
            },
            providers: stage.providers.clone(),
            store: Arc::clone(&stage.store) as _,
            archive: archive.clone(),
            tokens: Arc::new(stage.tokens.clone()),
            keys: Arc::clone(&stage.keys),
            followers: Arc::new(Synced(Arc::clone(&synced))),
            clock: Arc::new(stage.clock.clone()),
            random: Arc::new(OsRandom),
            lifecycle: lifecycle.clone(),
        });
        Self {
            subscriptions: subscriptions(stage, &lifecycle),
            intake: intake(stage, &archive, &sync, &lifecycle),
            sync,
            archive,
            synced,
            lifecycle,
        }
    }

    /// Makes the workers look, whatever is due.
    pub(crate) async fn ring(&self) {
        let nobody = key("calendly", "nobody");
        self.subscriptions.ask_for(&nobody).await.unwrap();
        self.sync.ask_for(&nobody).await.unwrap();
    }

    /// Asks for the subscription of a connection, and waits until it is active.
    pub(crate) async fn subscribe(&self, key: &ConnectionKey) {
        self.subscriptions.ask_for(key).await.unwrap();
        self.until_subscribed(key, subscription::ViewStatus::Active)
            .await;
    }

    /// Waits until the subscription of a connection stands so; what is said of it.
    pub(crate) async fn until_subscribed(
        &self,
        key: &ConnectionKey,
        status: subscription::ViewStatus,
    ) -> Option<String> {
        let mut last = None;
        let looking = async {
            loop {
                last = self.subscriptions.view(key).await.unwrap();
                if let Some(view) = last.as_ref().filter(|view| view.status == status) {
                    return view.reason.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_mins(1), looking).await;
        found.unwrap_or_else(|_late| panic!("it does not become {status:?}: {last:?}"))
    }

    /// Asks for a sync, and waits until it is complete.
    pub(crate) async fn read_all(&self, key: &ConnectionKey) {
        let before = self.synced.lock().len();
        assert!(self.sync.ask_for(key).await.unwrap());
        self.until_synced(before + 1).await;
        until("the sync is done", async || {
            let progress = self.sync.progress(key).await.unwrap();
            progress.filter(|progress| progress.stage == Reached::Done)
        })
        .await;
    }

    /// Waits until so many syncs were complete.
    pub(crate) async fn until_synced(&self, count: usize) {
        until("meetings are read", async || {
            (self.synced.lock().len() >= count).then_some(())
        })
        .await;
    }

    /// All meetings of a user.
    pub(crate) async fn meetings(&self, user: &str) -> Vec<Meeting> {
        let filter = MeetingFilter {
            user: UserId::parse(user).unwrap(),
            provider: None,
            from: None,
            until: None,
        };
        self.archive.list(&filter, None, 1000).await.unwrap()
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

// === impl Enriching, Synced ===

impl Witness for Enriching {
    fn judged(&self, _: &ProviderName, _: Verdict) {}

    fn took(&self, recipients: &[ConnectionKey], event: &Event) {
        if let Some(enricher) = &self.0 {
            enricher.enrich(recipients, event);
        }
    }
}

#[async_trait]
impl Followers for Synced {
    async fn synced(&self, _: &ConnectionKey, changed: u64) -> Result<(), store::Error> {
        self.0.lock().push(changed);
        Ok(())
    }
}
