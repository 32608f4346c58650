//! What the emulated Calendly knows: users, organizations, tokens.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{event::Event, subscriptions::Subscription};
use crate::{base::clock::Timestamp, sandbox::dates};

/// The only OAuth client.
pub(crate) const CLIENT: &str = "sandbox-calendly-client";

#[derive(Debug, Default)]
pub(crate) struct State {
    /// By id, the last segment of the URI.
    pub(crate) users: BTreeMap<String, User>,
    /// Token pairs, by number.
    pub(crate) grants: BTreeMap<u64, Grant>,
    /// The pair of each access token.
    pub(crate) access: HashMap<String, u64>,
    /// The pair of each refresh token, spent ones too.
    pub(crate) refresh: HashMap<String, u64>,
    /// Authorization codes that were not yet used.
    pub(crate) codes: HashMap<String, Code>,
    /// By id.
    pub(crate) events: BTreeMap<String, Event>,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Whose token it is or was, by token id.
    pub(crate) names: HashMap<String, String>,
    last: u64,
}

/// One row of the token table: as in Doorkeeper it holds an access and a refresh token (§1.4).
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// Id of the user.
    pub(crate) user: String,
    pub(crate) scope: String,
    pub(crate) created: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) access_revoked: bool,
    pub(crate) refresh_spent: bool,
}

/// An authorization code, good for ten minutes (§1.1).
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) user: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) challenge: Option<String>,
    pub(crate) expires_at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    /// What the sandbox calls the user.
    pub(crate) name: String,
    pub(crate) email: String,
    /// Id of the organization.
    pub(crate) organization: String,
    /// Owner of the organization, not a mere member.
    pub(crate) owner: bool,
    /// The group in it.
    pub(crate) group: Option<String>,
    pub(crate) free_plan: bool,
    pub(crate) created: Timestamp,
}

// === impl State ===

impl State {
    pub(crate) const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&User> {
        self.users.values().find(|user| user.name == name)
    }

    pub(crate) fn name_of(&self, id: &str) -> Option<String> {
        self.users.get(id).map(|user| user.name.clone())
    }
}

// === impl User ===

impl User {
    pub(crate) fn uri(&self, base: &str) -> String {
        format!("{base}/users/{}", self.id)
    }

    pub(crate) fn organization_uri(&self, base: &str) -> String {
        format!("{base}/organizations/{}", self.organization)
    }

    /// §3.
    pub(crate) fn shown(&self, base: &str) -> Value {
        json!({
            "uri": self.uri(base),
            "name": self.name,
            "slug": self.name,
            "email": self.email,
            "scheduling_url": format!("https://calendly.com/{}", self.name),
            "timezone": "Europe/Berlin",
            "time_notation": "24h",
            "avatar_url": null,
            "locale": "en",
            "created_at": dates::micros(self.created),
            "updated_at": dates::micros(self.created),
            "current_organization": self.organization_uri(base),
            "resource_type": "User",
        })
    }
}
