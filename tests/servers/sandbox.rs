//! The emulated providers as tests start them, and what an import takes of a user whom they made.

use std::sync::Arc;

use daypass::{
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    sandbox::{Created, Options, Sandbox, Switches},
};
use serde_json::{Value, json};

/// Both providers, without limits: those are for the tests that are about them.
pub(crate) async fn without_limits(lifecycle: &Lifecycle) -> Sandbox {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom));
    let started = Sandbox::start(Options::default(), lifecycle.clone(), clock, random).await;
    let sandbox = started.unwrap();
    let unlimited =
        |switches: &mut Switches| (switches.api_per_minute, switches.token_per_minute) = (0, 0);
    sandbox.calcom().set(unlimited);
    sandbox.calendly().set(unlimited);
    sandbox
}

/// The body that imports `created`.
pub(crate) fn grant(created: &Created) -> Value {
    let mut grant = json!({
        "access_token": created.access_token,
        "refresh_token": created.refresh_token,
        "expires_at": created.access_expires_at,
        "external_id": created.external_id,
        "scope": created.scope,
    });
    if let Some(organization) = &created.organization {
        grant["organization"] = json!(organization);
    }
    if let Some(id) = created.managed_user_id {
        grant["managed_user_id"] = json!(id);
    }
    grant
}
