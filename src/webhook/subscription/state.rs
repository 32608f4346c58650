//! How far a subscription is: what its job keeps, sealed, and what others may see of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Route, Target};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey},
    },
    provider::{Account, Coverage, Denial, Health},
    store::Job,
};

/// What is kept of a subscription.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) route: Route,
    /// The connection that it was made for.
    pub(super) connection: ConnectionId,
    pub(super) external_id: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) managed_user_id: Option<i64>,
    coverage: String,
    /// The provider's id, once there is one.
    pub(super) subscription: Option<String>,
    pub(super) standing: Standing,
    /// Attempts in a row that came to nothing.
    pub(super) failures: u32,
    pub(super) since: Timestamp,
}

/// How a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Standing {
    /// Not made yet.
    Pending,
    /// It delivers.
    Active,
    /// It delivers with difficulty.
    Retrying,
    /// There can be none for now.
    Unavailable {
        /// For people.
        reason: String,
        /// For programs.
        #[serde(default)]
        lacks: Lack,
    },
    /// It could not be made; tried again.
    Failed {
        /// For people.
        reason: String,
    },
}

/// What a subscription needs and does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SubscriptionLack")]
pub enum Lack {
    /// A plan with webhooks.
    Plan,
    /// A scope, which a new consent may grant.
    Scope,
    /// A role, or something else that only the account's owner can tell.
    #[default]
    Permission,
}

/// What others may see of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Subscription")]
pub struct View {
    /// In one word.
    pub status: ViewStatus,
    /// Why it is not active and what to do, for people.
    pub reason: Option<String>,
    /// What there would have to be, if it is unavailable.
    pub lacks: Option<Lack>,
    /// Since when it is so; absent if nothing was tried yet.
    pub since: Option<Timestamp>,
    /// When it is looked at, or tried, next; absent while that is under way, and if its user has to act
    /// first.
    pub next_at: Option<Timestamp>,
}

/// A subscription's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SubscriptionStatus")]
pub enum ViewStatus {
    /// About to be made.
    Pending,
    /// It delivers.
    Active,
    /// The provider tries again what was not taken.
    Retrying,
    /// The account's plan, role or grant has none.
    Unavailable,
    /// It could not be made so far.
    Failed,
}

// === impl State ===

impl State {
    /// Before anything was asked of the provider.
    pub(super) fn new(
        route: Route,
        connection: ConnectionId,
        account: &Account,
        coverage: Coverage,
        now: Timestamp,
    ) -> Self {
        Self {
            route,
            connection,
            external_id: account.external_id.clone(),
            organization: account.organization.clone(),
            managed_user_id: account.managed_user_id,
            coverage: coverage.as_str().to_owned(),
            subscription: None,
            standing: Standing::Pending,
            failures: 0,
            since: now,
        }
    }

    /// What its route leads to.
    pub(super) fn target(&self, key: &ConnectionKey) -> Target {
        Target {
            key: key.clone(),
            account: self.account(),
            coverage: self.coverage(),
            secret: self.route.secret.clone(),
        }
    }

    pub(super) fn account(&self) -> Account {
        Account {
            external_id: self.external_id.clone(),
            organization: self.organization.clone(),
            managed_user_id: self.managed_user_id,
        }
    }

    /// Notes whose account it is.
    pub(super) fn name(&mut self, account: &Account) {
        self.external_id.clone_from(&account.external_id);
        self.organization.clone_from(&account.organization);
        self.managed_user_id = account.managed_user_id;
    }

    pub(super) fn coverage(&self) -> Coverage {
        Coverage::parse(&self.coverage).unwrap_or(Coverage::User)
    }

    /// Notes how it stands, and since when if that is new.
    pub(super) fn stands(&mut self, standing: Standing, now: Timestamp) {
        self.failures = match standing {
            Standing::Failed { .. } => self.failures.saturating_add(1),
            _ => 0,
        };
        if self.standing != standing {
            self.standing = standing;
            self.since = now;
        }
    }
}

// === impl Standing ===

impl From<&Denial> for Standing {
    fn from(denial: &Denial) -> Self {
        let lacks = match denial {
            Denial::Plan => Lack::Plan,
            Denial::Scope { .. } => Lack::Scope,
            Denial::Permission => Lack::Permission,
        };
        let reason = match denial {
            Denial::Plan => {
                "the account's plan has no webhooks: meetings are read from time to time \
                             instead, until its owner has one that does"
                    .to_owned()
            }
            Denial::Scope { missing } if missing.is_empty() => {
                "the grant does not allow webhooks: let the user connect again with a wider scope"
                    .to_owned()
            }
            Denial::Scope { missing } => format!(
                "the grant lacks {}: let the user connect again with it",
                missing.join(" ")
            ),
            Denial::Permission => {
                "the account may not subscribe: an organization's events need an admin".to_owned()
            }
        };
        Self::Unavailable { reason, lacks }
    }
}

impl From<Health> for Standing {
    fn from(health: Health) -> Self {
        match health {
            Health::Active => Self::Active,
            Health::Retrying { .. } => Self::Retrying,
            Health::Disabled | Health::Altered | Health::Gone => Self::Pending,
        }
    }
}

// === impl View ===

impl View {
    pub(super) fn of(job: &Job, state: Option<&State>) -> Self {
        let standing = state.map_or(&Standing::Pending, |state| &state.standing);
        let (status, reason, lacks) = match standing {
            Standing::Pending => (ViewStatus::Pending, None, None),
            Standing::Active => (ViewStatus::Active, None, None),
            Standing::Retrying => (ViewStatus::Retrying, None, None),
            Standing::Unavailable { reason, lacks } => {
                (ViewStatus::Unavailable, Some(reason), Some(*lacks))
            }
            Standing::Failed { reason } => (ViewStatus::Failed, Some(reason), None),
        };
        Self {
            status,
            reason: reason.cloned(),
            lacks,
            since: state.map(|state| state.since),
            next_at: job.due_at.filter(|_| job.owner.is_none()),
        }
    }
}
