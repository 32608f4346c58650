//! How a page is made: its frame, its answer, and what is shown in its place when it cannot be.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::{Room, door::Visitor, moment::Moment, templates};
use crate::{
    admin::{Health, Trouble},
    base::clock::Timestamp,
    store,
};

/// What surrounds every page.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Of the window, and the heading.
    pub(super) title: String,
    /// Which entry of the navigation it belongs to.
    pub(super) here: &'static str,
    /// What its forms carry.
    pub(super) form_token: String,
    /// Whether there is a session to end.
    pub(super) logged_in: bool,
    /// How the sidecar is, in one word, and as a colour.
    pub(super) health: Badge,
    pub(super) version: &'static str,
    /// Since when the process runs.
    pub(super) since: Moment,
    /// What became of what was asked for.
    pub(super) notice: Option<Notice>,
    /// Whether the script is to fetch it again: not what somebody is filling in or reading.
    pub(super) is_live: bool,
}

/// A word with a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) word: &'static str,
    /// `good`, `warn`, `bad` or `calm`.
    pub(super) tone: &'static str,
}

/// What became of what was asked for.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

/// A page, or what is shown in its place.
pub(super) type Answer = Result<Response, Fault>;

/// Why there is no page.
#[derive(Debug)]
pub(super) struct Fault(pub(super) Trouble);

/// The page of `template`.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            (status, [(CONTENT_TYPE, kind)], html).into_response()
        }
        // Writing to a string does not fail; a template may, where it is told to.
        Err(_) => Trouble::Broken.into_response(),
    }
}

/// The page that tells of `trouble`, for who may not know more.
pub(super) fn trouble(trouble: &Trouble) -> Response {
    let told = trouble.told();
    page(
        told.status,
        &templates::Fault {
            title: told.title,
            detail: &told.detail,
        },
    )
}

// === impl Fault ===

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self(trouble)
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        Self(Trouble::Store(error))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        trouble(&self.0)
    }
}

// === impl Room ===

impl Room {
    pub(super) fn now(&self) -> Timestamp {
        self.api.clock.now()
    }

    pub(super) fn moment(&self, at: Timestamp) -> Moment {
        Moment {
            at,
            now: self.now(),
        }
    }

    /// The frame of a page for `visitor`.
    pub(super) fn frame(
        &self,
        visitor: Visitor,
        here: &'static str,
        title: impl Into<String>,
    ) -> Frame {
        Frame {
            title: title.into(),
            here,
            form_token: self.sessions.form_token(visitor.session),
            logged_in: visitor.session.is_some(),
            health: Badge::of(self.readiness.report().status),
            version: env!("CARGO_PKG_VERSION"),
            since: self.moment(self.history.since()),
            notice: None,
            is_live: false,
        }
    }
}

// === impl Frame ===

impl Frame {
    /// Fetched again by the script.
    pub(super) fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    pub(super) fn with_notice(mut self, notice: Option<Notice>) -> Self {
        self.notice = notice;
        self
    }
}

// === impl Badge ===

impl Badge {
    pub(super) const fn new(word: &'static str, tone: &'static str) -> Self {
        Self { word, tone }
    }

    pub(super) const fn of(health: Health) -> Self {
        match health {
            Health::Ready => Self::new("ready", "good"),
            Health::Degraded => Self::new("degraded", "warn"),
            Health::NotReady => Self::new("not ready", "bad"),
            Health::Draining => Self::new("draining", "calm"),
        }
    }
}

// === impl Notice ===

impl Notice {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_bad: false,
        }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_bad: true,
        }
    }
}
