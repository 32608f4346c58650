//! The emulated Cal.com: API v2, both token families, bookings, webhooks.
//!
//! Written from the provider page `calcom.md`; section numbers in this folder refer to it.

use std::sync::Arc;

use axum::Router;
use http::HeaderMap;
use parking_lot::Mutex;

use super::{
    Announced, Announcement, ApiFault, Booked, BookingOrder, Created, Delivery, Disable, Entry,
    Filter, Kind, NewUser, Revoke, Stats, Switches, TokenFault, consent as consent_page,
    front::{Emulator, Seen},
    log::token_id,
    probe,
    stage::{Stage, Usage},
    switches::ApiMischief,
};
use axum::response::Response;

mod announce;
mod answer;
mod auth;
mod booking;
mod bookings;
mod calendar;
mod consent;
mod grants;
mod managed;
mod managed_token;
mod me;
mod oauth2_token;
mod state;
mod webhooks;

use self::{answer::Refusal, auth::Guard, state::State};

/// Handle of the emulated Cal.com.
#[derive(Debug)]
pub struct Calcom {
    stage: Stage,
    state: Mutex<State>,
    /// Signs every token it hands out.
    key: [u8; 32],
}

pub(crate) fn router(calcom: &Arc<Calcom>) -> Router {
    Router::new()
        .merge(managed::routes())
        .merge(managed_token::routes())
        .merge(oauth2_token::routes())
        .merge(me::routes())
        .merge(bookings::routes())
        .merge(calendar::routes())
        .merge(webhooks::routes())
        .fallback(answer::not_found)
        .with_state(Arc::clone(calcom))
        .merge(consent_page::routes(
            "/auth/oauth2/authorize",
            Arc::clone(calcom),
        ))
        .merge(probe::routes("/v2", Arc::clone(calcom)))
}

// === impl Calcom ===

impl Calcom {
    pub(crate) fn new(stage: Stage) -> Self {
        Self {
            key: stage.random.bytes(),
            state: Mutex::new(State::new()),
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

impl Emulator for Calcom {
    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn kind_of(&self, path: &str) -> Kind {
        let token = path.starts_with("/v2/auth/oauth2/token")
            || path.starts_with("/v2/oauth/")
            || path.starts_with("/v2/oauth-clients/") && path.ends_with("/force-refresh")
            || path.starts_with("/v2/oauth-clients/") && path.ends_with("/users");
        match () {
            () if token => Kind::Token,
            () if path.starts_with("/v2/") => Kind::Api,
            () => Kind::Page,
        }
    }

    fn user_of(&self, token: &str) -> Option<String> {
        self.state.lock().names.get(&token_id(token)).cloned()
    }

    /// §4: 500 per access token or client id, 120 per address.
    fn bucket(&self, seen: &Seen) -> Option<(String, u32)> {
        auth::bucket(&self.stage, seen)
    }

    fn too_many(&self) -> Response {
        Refusal::too_many().into()
    }

    fn refusal(&self, what: &ApiMischief, token: Option<&str>) -> Response {
        answer::mischief(what, token).into()
    }

    fn finish(&self, seen: &Seen, usage: Option<Usage>, response: &mut Response) {
        answer::finish(&self.stage, seen, usage, response);
    }

    fn admit(&self, headers: &HeaderMap) -> Result<String, Box<Response>> {
        let caller = self.caller(headers, Guard::Plain);
        caller
            .map(|caller| caller.name)
            .map_err(|refusal| Box::new(refusal.into()))
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
