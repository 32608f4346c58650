//! The outbound stack, from the caller's request to the provider's answer.

use std::{convert::Infallible, fmt, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use tower::ServiceBuilder;

use super::{
    Config, LocalCalls,
    admit::AdmitLayer,
    connect_url::ConnectUrlLayer,
    deadline::DeadlineLayer,
    errors,
    inject::{Attempt, InjectLayer},
    links::LinksLayer,
    local::{Calls, LocalLayer},
    policy::AllowLayer,
    recover::RecoverLayer,
    route::{RouteLayer, Routed},
    strip::StripLayer,
};
use crate::{
    base::clock::SharedClock,
    http::{
        access_log::{AccessLogLayer, LoggedBody, Observe},
        body::Body,
        client::{self, Client},
        problem::RescueLayer,
        replay::ReplayBody,
        service::{MapBody, Service},
    },
    provider::SharedProvider,
    telemetry::trace::Tracer,
    token::TokenSource,
};

/// What the outbound stack is made of.
pub struct Wiring {
    /// `[outbound]`.
    pub config: Config,
    /// Every configured provider.
    pub providers: Vec<SharedProvider>,
    /// Where tokens come from.
    pub tokens: Arc<dyn TokenSource>,
    /// What the local calls are answered from.
    pub local: Arc<dyn LocalCalls>,
    /// The way to the providers.
    pub client: Client,
    /// The wall clock, for `expires_in`.
    pub clock: SharedClock,
    /// Is told of every request.
    pub observer: Arc<dyn Observe>,
    /// Traces requests, if there is a collector.
    pub tracer: Option<Tracer>,
}

/// The way to the providers, which is shared.
#[derive(Clone)]
struct Wire(Client);

/// Builds the stack. Outermost first; every layer says why it stands where it does.
pub fn stack(
    wiring: Wiring,
) -> impl Service<
    Request<Incoming>,
    Response = Response<LoggedBody<Body>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let (calls, config) = (wiring.calls(), wiring.config);
    let service = ServiceBuilder::new()
        // One body type for everything inside, whoever made the body.
        .layer_fn(|inner| MapBody::new(inner, Body::from))
        // Outermost, so that problems and abandoned requests are logged and counted, too.
        .layer(AccessLogLayer::new(wiring.observer).traced(wiring.tracer))
        // Above everything that fails: one table turns every error into an answer.
        .layer(RescueLayer::new(errors::problem))
        // Where to connect, for users who are not; below the table, which knows nothing of links.
        .layer(ConnectUrlLayer::new(wiring.local))
        // Before any work is done for a request, because refusing must be cheap.
        .layer(AdmitLayer::new(config.max_in_flight))
        // Whom it is for; from here on a request has a provider and a user.
        .layer(RouteLayer::new(&config, wiring.providers))
        // Takes out what is answered here, so that only provider calls go on.
        .layer(LocalLayer::new(calls))
        .layer_fn(takes::<_, Routed>)
        // What the operator does not allow goes no further; a refusal costs no token.
        .layer(AllowLayer)
        // Links that lead past us; only here is it still known how the caller addressed us.
        .layer(LinksLayer)
        // No credential but ours passes; outside of inject, which adds it.
        .layer(StripLayer::new(config.propagate_trace_context))
        // One more attempt at most; inside strip, so that the second is as clean as the first.
        .layer(RecoverLayer::new(
            Arc::clone(&wiring.tokens),
            config.replay_body_bytes,
        ))
        .layer_fn(takes::<_, Attempt>)
        // The token, right above the wire: nothing further out ever sees it.
        .layer(InjectLayer::new(wiring.tokens))
        // Around each attempt, so that waiting for a token is not the provider's time.
        .layer(DeadlineLayer::new(config.response_timeout))
        .service(Wire(wiring.client));
    Arc::new(service)
}

/// Pins what the next service takes, so that a mistake in the chain is reported next to its cause.
const fn takes<S: Service<Req>, Req>(service: S) -> S {
    service
}

// === impl Wiring ===

impl Wiring {
    /// What is answered here.
    fn calls(&self) -> Calls {
        Calls {
            connections: Arc::clone(&self.local),
            tokens: Arc::clone(&self.tokens),
            clock: Arc::clone(&self.clock),
            token_reads: self.config.token_reads,
        }
    }
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring")
            .field("config", &self.config)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

// === impl Wire ===

impl Service<Request<ReplayBody>> for Wire {
    type Response = Response<Body>;
    type Error = client::Error;
    type Future = client::ResponseFuture;

    fn call(&self, request: Request<ReplayBody>) -> Self::Future {
        tower::Service::call(&mut self.0.clone(), request)
    }
}
