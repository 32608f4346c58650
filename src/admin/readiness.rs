//! Whether this process should be sent requests, put together from named checks.
//!
//! 1. Each component has a [`Check`] that its owner sets; until then it is not ready.
//! 2. The whole is as well as its worst component, and draining as soon as the drain begins.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::base::lifecycle::Lifecycle;

/// How well a component, or the whole, is. The later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All is well.
    Ready,
    /// Something is wrong, but requests are served.
    Degraded,
    /// Requests would fail.
    NotReady,
    /// The process is going down, and takes no new work.
    Draining,
}

/// One component's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Component {
    /// How well it is.
    pub status: Health,
    /// What is wrong with it, for operators; no secret. Absent exactly when it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The state of the whole, as `/readyz` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Readiness", example = serde_json::json!({
    "status": "degraded",
    "components": { "store": { "status": "degraded", "reason": "2 files wait in the spool" } },
}))]
pub struct Report {
    /// The worst of `components`, or draining.
    pub status: Health,
    /// Every check, by name.
    pub components: BTreeMap<&'static str, Component>,
}

/// Hands out checks and puts them together. Clones share the same checks.
#[derive(Clone)]
pub struct Readiness {
    lifecycle: Lifecycle,
    components: Components,
}

/// Sets the state of one component.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    components: Components,
}

type Components = Arc<Mutex<BTreeMap<&'static str, Component>>>;

// === impl Health ===

impl Health {
    /// Whether requests should be sent.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// As `/readyz` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
        }
    }
}

// === impl Readiness ===

impl Readiness {
    /// Without checks, and thus ready until `lifecycle` drains.
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self {
            lifecycle,
            components: Components::default(),
        }
    }

    /// A check of the component `name`, which is not ready until it is set.
    pub fn check(&self, name: &'static str) -> Check {
        let check = Check {
            name,
            components: Arc::clone(&self.components),
        };
        check.not_ready("not checked yet");
        check
    }

    /// The state of the whole, now.
    pub fn report(&self) -> Report {
        let components = self.components.lock().clone();
        let worst = components.values().map(|component| component.status).max();
        let status = if self.lifecycle.is_draining() {
            Health::Draining
        } else {
            worst.unwrap_or(Health::Ready)
        };
        Report { status, components }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.report()).finish()
    }
}

// === impl Check ===

impl Check {
    /// All is well.
    pub fn ready(&self) {
        self.set(Health::Ready, None);
    }

    /// Requests are served, but `reason`.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Health::Degraded, Some(reason.into()));
    }

    /// Requests would fail, because `reason`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Health::NotReady, Some(reason.into()));
    }

    /// Requests are still served, but nobody should send more, because `reason`.
    pub fn draining(&self, reason: impl Into<String>) {
        self.set(Health::Draining, Some(reason.into()));
    }

    fn set(&self, status: Health, reason: Option<String>) {
        let component = Component { status, reason };
        self.components.lock().insert(self.name, component);
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}
