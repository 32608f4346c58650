//! The other direction: the rooms behind the ingress listener, and the work that they do in the
//! background.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    Core, StartError,
    events::{Announcer, Following, OfWebhooks, Synced},
};
use crate::{
    admin::audit::Audit,
    base::ids::ProviderName,
    config::Settings,
    connect::{self, Connect, IssuedTokens},
    meeting::{Archive, Enricher, Sync, sync},
    store::{Backend, DutyKind, JobKind, Lookout},
    telemetry::metrics::Metrics,
    token::TokenSource,
    webhook::{
        Intake, Newcomers, Replays, Subscriptions, Teller, delivery, intake, newcomers,
        subscription, upkeep,
    },
};

/// The rooms of the other direction.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Inward {
    /// Lets users come and go.
    pub connect: Connect,
    /// Takes webhooks.
    pub intake: Intake,
    /// Looks after webhook subscriptions.
    pub subscriptions: Subscriptions,
    /// Reads meetings.
    pub sync: Sync,
    /// Shows meetings.
    pub archive: Archive,
    /// Delivers again what was delivered or given up.
    pub replays: Replays,
}

/// What all of these rooms share.
struct Shared<'a> {
    core: &'a Core,
    settings: &'a Settings,
    tokens: Arc<dyn TokenSource>,
    /// Rung when there is something to deliver.
    accepted: Arc<Notify>,
    witness: Arc<OfWebhooks>,
}

// === impl Inward ===

impl Inward {
    /// Opens the rooms and starts their work, which ends when the drain begins.
    pub(super) fn open(
        core: &Core,
        settings: &Settings,
        metrics: &Metrics,
        announcer: Announcer,
        audit: &Audit,
    ) -> Result<Self, StartError> {
        let names = settings.providers.iter();
        let names: Vec<ProviderName> = names.map(|provider| provider.name().clone()).collect();
        let shared = Shared::new(core, settings, OfWebhooks::new(metrics, &names));
        let inward = shared.assemble(announcer, Some(audit.clone()));
        if let Some(lookout) = shared.lookout() {
            inward.sync.work(lookout.clone());
            inward.subscriptions.watch(lookout.clone());
            shared.deliver(lookout)?;
        }
        shared.forget();
        shared.look_for_newcomers(&inward.intake);
        Ok(inward)
    }

    /// Opens the rooms for a command: what it asks for in the background is done by those who serve.
    pub fn for_command(core: &Core, settings: &Settings) -> Self {
        let witness = OfWebhooks::new(&Metrics::new(&*core.clock), &[]);
        Shared::new(core, settings, witness).assemble(Announcer::default(), None)
    }
}

// === impl Shared ===

impl<'a> Shared<'a> {
    fn new(core: &'a Core, settings: &'a Settings, witness: Arc<OfWebhooks>) -> Self {
        Self {
            core,
            settings,
            tokens: Arc::new(core.tokens.clone()),
            accepted: Arc::new(Notify::new()),
            witness,
        }
    }

    fn assemble(&self, announcer: Announcer, audit: Option<Audit>) -> Inward {
        let core = self.core;
        let archive = Archive::new(
            Arc::clone(&core.everything) as _,
            Arc::clone(&core.keys),
            Arc::clone(&core.random),
        );
        let sync = self.sync(&archive, &announcer);
        let subscriptions = self.subscriptions();
        let intake = self.intake();
        self.wire(&announcer);
        if self.settings.meetings.store {
            self.witness.wire(Enricher::new(
                &core.providers,
                archive.clone(),
                sync.clone(),
                Arc::clone(&self.tokens),
                core.lifecycle.clone(),
            ));
        }
        let connect = self.connect(Following {
            intake: intake.clone(),
            subscriptions: subscriptions.clone(),
            sync: sync.clone(),
            announcer,
            audit,
        });
        Inward {
            connect,
            intake,
            subscriptions,
            sync,
            archive,
            replays: Replays::new(
                Arc::clone(&core.everything) as _,
                Arc::clone(&self.accepted),
            ),
        }
    }

    fn sync(&self, archive: &Archive, announcer: &Announcer) -> Sync {
        let core = self.core;
        Sync::new(sync::Parts {
            config: self.settings.meetings.clone(),
            providers: core.providers.clone(),
            store: Arc::clone(&core.everything),
            archive: archive.clone(),
            tokens: Arc::clone(&self.tokens),
            keys: Arc::clone(&core.keys),
            followers: Arc::new(Synced(announcer.clone())),
            clock: Arc::clone(&core.clock),
            random: Arc::clone(&core.random),
            lifecycle: core.lifecycle.clone(),
        })
    }

    fn subscriptions(&self) -> Subscriptions {
        let core = self.core;
        Subscriptions::new(subscription::Parts {
            public_url: self.settings.ingress.public_url.clone(),
            providers: core.providers.clone(),
            store: Arc::clone(&core.everything),
            tokens: Arc::clone(&self.tokens),
            keys: Arc::clone(&core.keys),
            clock: Arc::clone(&core.clock),
            random: Arc::clone(&core.random),
            lifecycle: core.lifecycle.clone(),
        })
    }

    fn intake(&self) -> Intake {
        let core = self.core;
        Intake::new(intake::Parts {
            config: self.settings.webhooks.clone(),
            max_body_bytes: self.settings.ingress.max_body_bytes,
            providers: core.providers.clone(),
            store: Arc::clone(&core.everything),
            tokens: Arc::clone(&self.tokens),
            keys: Arc::clone(&core.keys),
            accepted: Arc::clone(&self.accepted),
            witness: Arc::clone(&self.witness) as _,
            clock: Arc::clone(&core.clock),
            random: Arc::clone(&core.random),
            lifecycle: core.lifecycle.clone(),
        })
    }

    fn wire(&self, announcer: &Announcer) {
        let core = self.core;
        let teller = Teller::new(
            &self.settings.webhooks,
            Arc::clone(&core.everything) as _,
            Arc::clone(&core.keys),
            Arc::clone(&self.accepted),
            Arc::clone(&core.clock),
            Arc::clone(&core.random),
        );
        // Remembering costs a write for each renewal: only where browsers may ask.
        let issued = (!self.settings.ingress.atoms_origins.is_empty()).then(|| {
            IssuedTokens::new(
                Arc::clone(&core.everything) as _,
                Arc::clone(&core.keys),
                Arc::clone(&core.random),
                core.lifecycle.clone(),
            )
        });
        announcer.wire(teller, issued, core.lifecycle.clone());
    }

    fn connect(&self, following: Following) -> Connect {
        let core = self.core;
        Connect::new(connect::Parts {
            config: self.settings.ingress.clone(),
            providers: core.providers.clone(),
            tokens: core.tokens.clone(),
            expiring: Arc::clone(&core.everything) as _,
            accounts: Arc::clone(&core.everything) as _,
            keys: Arc::clone(&core.keys),
            followers: vec![Arc::new(following)],
            clock: Arc::clone(&core.clock),
            random: Arc::clone(&core.random),
            lifecycle: core.lifecycle.clone(),
        })
    }

    /// Looks after connections that were imported, or saved by another version.
    fn look_for_newcomers(&self, intake: &Intake) {
        let core = self.core;
        let subscribed = self.settings.ingress.public_url.is_some();
        let read = self.settings.meetings.store;
        let jobs = [
            subscribed.then_some(JobKind::Subscription),
            read.then_some(JobKind::Sync),
        ];
        let newcomers = Newcomers::new(newcomers::Parts {
            store: Arc::clone(&core.everything),
            duties: Arc::clone(&core.store),
            providers: core.providers.clone(),
            intake: intake.clone(),
            jobs: jobs.into_iter().flatten().collect(),
            random: Arc::clone(&core.random),
            lifecycle: core.lifecycle.clone(),
        });
        newcomers.keep_looking();
    }

    /// Says when to look for work, if any of it is done here. Processes that do not do the same work do
    /// not look for each other.
    fn lookout(&self) -> Option<Lookout> {
        let does = (
            self.settings.webhooks.destination.is_some(),
            self.settings.meetings.store,
            self.settings.ingress.public_url.is_some(),
        );
        let kind = match does {
            (false, false, false) => return None,
            (true, true, true) => "look",
            (true, false, false) => "look-deliveries",
            (false, true, false) => "look-syncs",
            (false, false, true) => "look-subscriptions",
            (true, true, false) => "look-deliveries-syncs",
            (true, false, true) => "look-deliveries-subscriptions",
            (false, true, true) => "look-syncs-subscriptions",
        };
        let core = self.core;
        Some(match self.settings.store.backend {
            Backend::Sqlite { .. } => Lookout::alone(&core.random),
            _ => Lookout::shared(
                Arc::clone(&core.store),
                DutyKind::new(kind),
                &core.random,
                &core.lifecycle,
            ),
        })
    }

    /// Delivers, where there is somewhere to deliver to.
    fn deliver(&self, lookout: Lookout) -> Result<(), StartError> {
        let core = self.core;
        delivery::deliver(delivery::Parts {
            config: self.settings.webhooks.clone(),
            user_header: self.settings.outbound.user_header.clone(),
            ca_file: self.settings.tls_ca_file.clone(),
            deliveries: Arc::clone(&core.everything) as _,
            keys: Arc::clone(&core.keys),
            accepted: Arc::clone(&self.accepted),
            lookout,
            clock: Arc::clone(&core.clock),
            random: Arc::clone(&core.random),
            lifecycle: core.lifecycle.clone(),
            observer: Arc::clone(&self.witness) as _,
        })?;
        Ok(())
    }

    /// Forgets what is over.
    fn forget(&self) {
        let core = self.core;
        core.lifecycle.spawn_until_drain(upkeep::forget(
            self.settings.webhooks.clone(),
            self.settings.admin.audit_retention,
            Arc::clone(&core.everything),
            Arc::clone(&core.clock),
            Arc::clone(&core.random),
        ));
    }
}
