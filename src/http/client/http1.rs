//! One connection of HTTP/1.1, driven by whoever uses it.
//!
//! 1. Whoever owns the [`Http1`] has the connection to himself: that two requests never meet on one is a
//!    matter of ownership.
//! 2. It moves only while it is [driven](Http1::drive). So whatever hyper says through its channels has
//!    been said when that returns, and is looked for without a waker.
//! 3. It is [idle](Http1::is_idle) when hyper would take the next request: request and answer have come
//!    to their ends, the peer wants to keep it, and nothing came that was not asked for.
//! 4. What happens to an idle connection wakes nobody. It is seen when the connection is driven next: for
//!    a request, which is given back if the connection has closed or has spoken unasked; or by the
//!    [pool](super::pool), now and then.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use tokio::task::coop;
use tokio_util::sync::ReusableBoxFuture;

use super::{connect::Stream, patient::Patient};
use crate::http::replay::{Progress, ReplayBody};

/// What became of a request: hyper's word, with the request itself if not a byte of it was sent.
pub(super) type Answer = Result<Response<Incoming>, TrySendError<Request<ReplayBody>>>;

/// A connection; see the [module docs](self).
pub(super) struct Http1 {
    sender: SendRequest<ReplayBody>,
    /// `None` once it has ended.
    driver: Option<Connection<Patient<Stream>, ReplayBody>>,
    /// Kept for all requests of the connection, so that none has to allocate it.
    answer: ReusableBoxFuture<'static, Answer>,
    /// How far the request's body is.
    upload: Option<Progress>,
    relay: Arc<Relay>,
    waker: Waker,
    /// Whether it has served before.
    pub(super) is_reused: bool,
}

/// Wakes whoever has the connection; nobody while it is idle, although hyper remembers the waker.
#[derive(Default)]
struct Relay(AtomicWaker);

// === impl Http1 ===

impl Http1 {
    /// Speaks HTTP/1.1 on `stream`.
    pub(super) async fn handshake(stream: Stream) -> Result<Box<Self>, hyper::Error> {
        let (sender, driver) = Builder::new()
            // Heads and short bodies in one buffer cost less than a list of buffers.
            .writev(false)
            .handshake(Patient::new(stream))
            .await?;
        let relay = Arc::<Relay>::default();
        Ok(Box::new(Self {
            sender,
            driver: Some(driver),
            answer: ReusableBoxFuture::new(pending()),
            upload: None,
            waker: Waker::from(Arc::clone(&relay)),
            relay,
            is_reused: false,
        }))
    }

    /// Takes `request`, which is sent as the connection is driven.
    pub(super) fn send(&mut self, request: Request<ReplayBody>) {
        self.upload = Some(request.body().progress());
        // The budget of the task must not hide an answer that is there: nobody would be woken for it.
        let answer = coop::unconstrained(self.sender.try_send_request(request));
        self.answer.set(answer);
    }

    /// Drives the connection until it has the answer's head. Must not be asked again after that.
    pub(super) fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<Answer> {
        self.drive(cx);
        // Only what was just driven could answer (rule 2).
        self.answer.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Lets the connection do what it can, and wakes the task when it can do more.
    pub(super) fn drive(&mut self, cx: &Context<'_>) {
        self.relay.0.register(cx.waker());
        self.proceed();
    }

    /// Looks what happened to an idle connection; nobody will be woken.
    pub(super) fn look(&mut self) {
        self.proceed();
    }

    fn proceed(&mut self) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        if Pin::new(driver)
            .poll(&mut Context::from_waker(&self.waker))
            .is_ready()
        {
            // Dropping it answers what is still unanswered.
            self.driver = None;
        }
    }

    /// Whether it would take another request.
    pub(super) fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether it has come to its end.
    pub(super) const fn has_ended(&self) -> bool {
        self.driver.is_none()
    }

    /// Whether the caller has still something of the request's body to send.
    pub(super) fn is_uploading(&self) -> bool {
        let frames = self.upload.as_ref().and_then(Progress::frames);
        frames.is_some()
    }

    /// Lets go of the task that used it.
    pub(super) fn rest(&mut self) {
        self.relay.0.take();
        self.upload = None;
        self.is_reused = true;
    }
}

// === impl Relay ===

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}
