//! The emulated Calendly: OAuth server and API v2 on one listener.
//!
//! Written from the provider page `calendly.md`; section numbers in this folder refer to it.

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use parking_lot::Mutex;

use self::state::State;
use super::{
    Announced, Announcement, ApiFault, Booked, BookingOrder, Created, Delivery, Disable, Entry,
    Filter, Kind, NewUser, Revoke, Stats, Switches, TokenFault, consent as consent_page,
    front::{Emulator, Seen},
    log::token_id,
    probe,
    stage::{Stage, Usage},
    switches::ApiMischief,
};

mod announce;
mod answer;
mod auth;
mod consent;
mod event;
mod events;
mod grants;
mod paging;
mod state;
mod subscriptions;
mod token;
mod users;
mod webhooks;

/// Handle of the emulated Calendly.
#[derive(Debug)]
pub struct Calendly {
    stage: Stage,
    state: Mutex<State>,
    /// Signs every token it hands out.
    key: [u8; 32],
}

pub(crate) fn router(calendly: &Arc<Calendly>) -> Router {
    Router::new()
        .merge(token::routes())
        .merge(users::routes())
        .merge(events::routes())
        .merge(subscriptions::routes())
        .fallback(answer::not_found)
        .with_state(Arc::clone(calendly))
        .merge(consent_page::routes(
            "/oauth/authorize",
            Arc::clone(calendly),
        ))
        .merge(probe::routes("", Arc::clone(calendly)))
}

/// 8 token calls a minute and user (§6).
fn defaults() -> Switches {
    Switches {
        token_per_minute: 8,
        ..Switches::default()
    }
}

// === impl Calendly ===

impl Calendly {
    pub(crate) fn new(stage: Stage) -> Self {
        stage.set(|switches| *switches = defaults());
        Self {
            key: stage.random.bytes(),
            state: Mutex::default(),
            stage,
        }
    }

    /// The switches as they are.
    pub fn switches(&self) -> Switches {
        self.stage.switch(Clone::clone)
    }

    /// Changes switches.
    pub fn set<T>(&self, change: impl FnOnce(&mut Switches) -> T) -> T {
        self.stage.set(change)
    }

    /// Adds a fault of the token endpoints.
    pub fn fault_token(&self, fault: TokenFault) {
        self.stage.set(|switches| switches.token_faults.push(fault));
    }

    /// Adds a fault of the API.
    pub fn fault_api(&self, fault: ApiFault) {
        self.stage.set(|switches| switches.api_faults.push(fault));
    }

    /// The logged requests, oldest first.
    pub fn entries(&self, filter: &Filter) -> Vec<Entry> {
        self.stage.log.matching(filter)
    }

    /// Forgets log and counters.
    pub fn clear_log(&self) {
        self.stage.log.clear();
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stage.log.stats()
    }

    /// Makes a user and a grant; an existing user gets one more grant.
    ///
    /// # Errors
    ///
    /// The order makes no sense; the text says why.
    pub fn create_user(&self, order: &NewUser) -> Result<Created, String> {
        self.mint_for(order)
    }

    /// Makes, moves or cancels a booking and fires the webhooks.
    ///
    /// # Errors
    ///
    /// There is no such user or booking, or the action does not fit.
    pub fn book(self: &Arc<Self>, order: &BookingOrder) -> Result<Booked, String> {
        self.booked(order)
    }

    /// Tells an event as it stands.
    ///
    /// # Errors
    ///
    /// There is no such user.
    pub fn announce(self: &Arc<Self>, order: &Announcement) -> Result<Announced, String> {
        self.announced(order)
    }

    /// Switches off the subscriptions to an address.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn disable(&self, order: &Disable) -> Result<(), String> {
        self.disabled(order)
    }

    /// The webhook deliveries so far, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.stage.deliveries()
    }

    /// Kills tokens, grants or users.
    ///
    /// # Errors
    ///
    /// There is no such user.
    pub fn revoke(&self, order: &Revoke) -> Result<(), String> {
        self.kill_tokens(order)
    }
}

impl Emulator for Calendly {
    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn defaults(&self) -> Switches {
        defaults()
    }

    fn kind_of(&self, path: &str) -> Kind {
        match path {
            "/oauth/token" | "/oauth/revoke" | "/oauth/introspect" => Kind::Token,
            _ if path.starts_with("/oauth/") => Kind::Page,
            _ => Kind::Api,
        }
    }

    fn user_of(&self, token: &str) -> Option<String> {
        self.state.lock().names.get(&token_id(token)).cloned()
    }

    /// §6: per app and user; 500 a minute on a paid plan, 50 on the free one.
    fn bucket(&self, seen: &Seen) -> Option<(String, u32)> {
        if seen.kind != Kind::Api {
            return None;
        }
        let limit = self.stage.switch(|switches| switches.api_per_minute);
        let user = seen.user.as_deref()?;
        let free = self
            .state
            .lock()
            .by_name(user)
            .is_some_and(|user| user.free_plan);
        Some((
            format!("user:{user}"),
            if free { limit.div_ceil(10) } else { limit },
        ))
    }

    fn too_many(&self) -> Response {
        answer::too_many().into_response()
    }

    fn refusal(&self, what: &ApiMischief, _token: Option<&str>) -> Response {
        answer::mischief(what).into_response()
    }

    fn finish(&self, _seen: &Seen, usage: Option<Usage>, response: &mut Response) {
        answer::finish(&self.stage, usage, response);
    }

    fn admit(&self, headers: &HeaderMap) -> Result<String, Box<Response>> {
        let caller = self.caller(headers);
        caller
            .map(|caller| caller.name)
            .map_err(|refusal| Box::new(refusal.into_response()))
    }

    fn create(&self, order: &NewUser) -> Result<Created, String> {
        self.mint_for(order)
    }

    fn kill(&self, order: &Revoke) -> Result<(), String> {
        self.kill_tokens(order)
    }

    fn book(self: &Arc<Self>, order: &BookingOrder) -> Result<Booked, String> {
        self.booked(order)
    }

    fn announce(self: &Arc<Self>, order: &Announcement) -> Result<Announced, String> {
        self.announced(order)
    }

    fn disable(&self, order: &Disable) -> Result<(), String> {
        self.disabled(order)
    }
}
