//! The sidecar: the core with its listeners, from start to drained.
//!
//! Start: the addresses are taken first, or what was handed over is, so that a mistake shows before anything is touched; then the
//! store, the tokens, and last the doors are opened. End: the app's door is closed first, then what is
//! inside is let out, up to [`DRAIN_LIMIT`](super::DRAIN_LIMIT), then the store is closed. The admin
//! listener goes last, so that probes hear of the drain.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tower::ServiceExt;

use super::{
    Core, Ending, Handover, Role, Signals, StartError, Supervisor, Told, events::Announcer,
    inward::Inward, local_calls::FromRooms, observer, promises, readiness, traces,
};
use crate::{
    admin::{self, History, Readiness, api, audit::Audit, status},
    base::{clock::SystemClock, ids::ProviderName, lifecycle::Lifecycle},
    config::{Reload, Settings},
    connect,
    http::{
        Listen,
        client::Client,
        server::{self, Bound},
        service::{Erased, Ready},
        tls::{self, Alpn},
    },
    proxy,
    telemetry::{metrics::Metrics, trace::Exporter},
    webhook::Payloads,
};

/// How long probes and scrapes under way may take to finish when everything else has ended.
const PROBES_LIMIT: Duration = Duration::from_millis(200);

/// How long sending what is left of the traces may take.
const TRACES_LIMIT: Duration = Duration::from_secs(2);
/// Whoever started the process.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Sockets that are open already.
    pub handover: Handover,
    /// Who is told how it goes.
    pub supervisor: Supervisor,
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    core: Core,
    /// Runs the admin listener and the export of traces, which outlive the drain.
    probes: Lifecycle,
    exporter: Option<Exporter>,
    readiness: Readiness,
    supervisor: Supervisor,
    outbound: Listen,
    ingress: Listen,
    admin: Listen,
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts everything; requests are answered when this returns.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::start_in(Surroundings::default(), settings).await
    }

    /// The same, with the sockets that were handed over, and telling the service manager.
    pub async fn start_in(
        surroundings: Surroundings,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let lifecycle = Lifecycle::new();
        let mut adopted = surroundings.handover.adopt(settings)?;
        let outbound = adopted.or_bind(&settings.outbound.listen, "outbound")?;
        let ingress = adopted.or_bind(&settings.ingress.listen, "ingress")?;
        let admin = adopted.or_bind(&settings.admin.listen, "admin")?;
        let supervisor = surroundings.supervisor;
        supervisor.starting("opening the store");
        let metrics = Arc::new(traces::metrics(settings));
        let probes = Lifecycle::new();
        let exporter = traces::exporter(settings, &metrics, &probes)?;
        let tracer = exporter.as_ref().map(|exporter| exporter.tracer().clone());
        let names = names(settings);
        let readiness = Readiness::new(lifecycle.clone());
        let alarm = Arc::new(readiness::Alarm::new(&readiness));
        let announcer = Announcer::default();
        let told = announcer.clone();
        let history = History::new(&metrics, &names, Arc::new(SystemClock));
        let (rung, remembers) = (Arc::clone(&alarm), history.clone());
        let observer =
            observer::OfTokens::new(&metrics, &names, rung, told, tracer.clone(), remembers);
        let role = Role::Sidecar(observer);
        let core = Core::open(settings, role, lifecycle.clone()).await?;
        let sidecar = Self {
            outbound: outbound.local_addr(),
            ingress: ingress.local_addr(),
            admin: admin.local_addr(),
            core,
            probes,
            exporter,
            readiness,
            supervisor,
        };
        let audit = sidecar.core.audit(metrics.audit_failures());
        let inward = Inward::open(&sidecar.core, settings, &metrics, announcer, &audit)?;
        let api = sidecar.api(settings, &names, &inward, audit.clone());
        let page = sidecar.page(history);
        sidecar
            .open_admin(admin, settings, &metrics, alarm, (api, page))
            .await;
        sidecar.open_ingress(ingress, settings, &inward);
        sidecar.open_outbound(outbound, settings, &metrics, inward, audit)?;
        tracing::info!(
            outbound = %sidecar.outbound,
            ingress = %sidecar.ingress,
            admin = %sidecar.admin,
            providers = ?names,
            "ready",
        );
        sidecar.tell_supervisor(&lifecycle);
        sidecar.read_roots_ahead();
        Ok(sidecar)
    }

    /// So that no first call to a provider waits for it, and no start.
    fn read_roots_ahead(&self) {
        let mut providers = self.core.providers.iter();
        if providers.any(|provider| *provider.api_base().scheme() == http::uri::Scheme::HTTPS) {
            // Without a thread, the first call reads them.
            drop(Lifecycle::spawn_thread("daypass-roots", tls::read_ahead));
        }
    }

    /// That all is open, and from now on how it is.
    fn tell_supervisor(&self, lifecycle: &Lifecycle) {
        self.supervisor.ready(&self.readiness.report());
        self.supervisor
            .keep_telling(&self.probes, lifecycle, self.readiness.clone());
    }

    /// What the API for operators is answered from.
    fn api(
        &self,
        settings: &Settings,
        names: &[ProviderName],
        inward: &Inward,
        audit: Audit,
    ) -> api::Parts {
        let core = &self.core;
        api::Parts {
            providers: names.iter().cloned().collect(),
            store: Arc::clone(&core.everything),
            tokens: core.tokens.clone(),
            connect: inward.connect.clone(),
            subscriptions: inward.subscriptions.clone(),
            sync: inward.sync.clone(),
            archive: settings.meetings.store.then(|| inward.archive.clone()),
            replays: inward.replays.clone(),
            audit,
            clock: Arc::clone(&core.clock),
            lifecycle: core.lifecycle.clone(),
        }
    }

    /// What the status page has beside that.
    fn page(&self, history: History) -> status::Parts {
        let core = &self.core;
        let sampling = history.clone().keep_sampling();
        core.lifecycle.spawn_until_drain(sampling);
        status::Parts {
            history,
            payloads: Payloads::new(Arc::clone(&core.keys), Arc::clone(&core.random)),
            random: Arc::clone(&core.random),
        }
    }

    async fn open_admin(
        &self,
        bound: Bound,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        alarm: Arc<readiness::Alarm>,
        (api, page): (api::Parts, status::Parts),
    ) {
        let core = || self.core.clone();
        let readiness = self.readiness.clone();
        let mut checks = readiness::Checks::new(&readiness, alarm, metrics, &self.core);
        checks.look(&self.core).await;
        let lifecycle = &self.core.lifecycle;
        lifecycle.spawn_until_drain(checks.keep_looking(core()));
        drop(lifecycle.spawn(readiness::keep_counting(core(), Arc::clone(metrics))));
        let gauges = promises::Gauges::new(metrics);
        lifecycle.spawn_until_drain(promises::keep_looking(core(), gauges));
        let router = admin::router(&settings.admin, readiness, Arc::clone(metrics), api, page);
        let service = router.map_request(|request: http::Request<hyper::body::Incoming>| {
            request.map(axum::body::Body::new)
        });
        server::serve(bound, &self.probes, Erased::new(Ready(service)));
    }

    fn open_ingress(&self, bound: Bound, settings: &Settings, inward: &Inward) {
        let rooms = inward
            .connect
            .routes()
            .merge(inward.intake.clone().router());
        let observer = Arc::new(observer::OfVisits);
        let service = connect::ingress(rooms, &settings.ingress, observer);
        server::serve(bound, &self.core.lifecycle, Erased::new(service));
    }

    fn open_outbound(
        &self,
        bound: Bound,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        inward: Inward,
        audit: Audit,
    ) -> Result<(), StartError> {
        let names = names(settings);
        let tls = tls::client_config(settings.tls_ca_file.as_deref(), Alpn::Unset)?;
        let mut config = settings.outbound.clone();
        // A port that was given as 0 has become the real one, which callers name in `Host`.
        config.listen = self.outbound.clone();
        let stack = proxy::stack(proxy::Wiring {
            config,
            providers: self.core.providers.clone(),
            tokens: Arc::new(self.core.tokens.clone()),
            local: Arc::new(FromRooms {
                tokens: self.core.tokens.clone(),
                connect: inward.connect,
                subscriptions: inward.subscriptions,
                sync: inward.sync,
                audit,
                lifecycle: self.core.lifecycle.clone(),
            }),
            client: Client::new(tls, &self.core.lifecycle),
            clock: Arc::clone(&self.core.clock),
            observer: observer::OfRequests::new(metrics, &names),
            tracer: self
                .exporter
                .as_ref()
                .map(|exporter| exporter.tracer().clone()),
        });
        server::serve(bound, &self.core.lifecycle, stack);
        Ok(())
    }

    /// What the sidecar is made of.
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// Where the app calls.
    pub const fn outbound(&self) -> &Listen {
        &self.outbound
    }

    /// Where providers and browsers call.
    pub const fn ingress(&self) -> &Listen {
        &self.ingress
    }

    /// Where probes and Prometheus call.
    pub const fn admin(&self) -> &Listen {
        &self.admin
    }

    /// Runs the sidecar's tasks.
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.core.lifecycle
    }

    /// Serves until the next signal, and `linger` beyond it or until another one; then drains.
    ///
    /// Meanwhile `/readyz` says that it is draining, so that nobody sends it more: those who choose among
    /// several hear of an end later than the process. Connections that were kept alive are ended with
    /// their next answer, so that none is in use when the doors close.
    ///
    /// `reload` is asked to read again what can change, whenever that is told.
    pub async fn run_until_signal(
        self,
        signals: &mut Signals,
        linger: Duration,
        reload: &Reload,
    ) -> Ending {
        while signals.told().await == Told::Reload {
            self.supervisor.reloading();
            reload.now().await;
            self.supervisor.ready(&self.readiness.report());
        }
        if !linger.is_zero() {
            let secs = linger.as_secs_f32();
            tracing::info!(linger_secs = secs, "told to end; serving on for a while");
            let told = format!("told to end; serves on for {secs} s");
            self.supervisor.stopping(linger, &told);
            self.readiness.check("process").draining(told);
            self.core.lifecycle.begin_parting();
            drop(timeout(linger, signals.next()).await);
        }
        self.drain(signals).await
    }

    /// Takes no new requests and finishes those under way, up to [`DRAIN_LIMIT`](super::DRAIN_LIMIT)
    /// or the next signal. Probes are answered until the end.
    pub async fn drain(self, signals: &mut Signals) -> Ending {
        let secs = super::DRAIN_LIMIT.as_secs();
        let told = format!("told to end; finishes what is under way, within {secs} s");
        self.supervisor.stopping(Duration::ZERO, &told);
        self.readiness.check("process").draining(told);
        let ending = signals.drain(&self.core.lifecycle).await;
        if let Some(exporter) = &self.exporter
            && ending == Ending::Drained
        {
            exporter.flush(TRACES_LIMIT).await;
        }
        self.probes.drain(PROBES_LIMIT).await;
        ending
    }
}

fn names(settings: &Settings) -> Vec<ProviderName> {
    let providers = settings.providers.iter();
    providers.map(|provider| provider.name().clone()).collect()
}
