//! Who is calling the API (§2): 401 for the token, 403 for everything else.

use http::HeaderMap;

use super::{
    Calendly,
    answer::{Refusal, insufficient_scope, unauthenticated},
};
use crate::sandbox::wire::bearer;

/// Whoever passed.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Id of the organization.
    pub(crate) organization: String,
    pub(crate) owner: bool,
    pub(crate) free_plan: bool,
    scope: String,
}

// === impl Caller ===

impl Caller {
    /// Whether the grant covers `scope`; `X:write` includes `X:read` (§1.5).
    pub(crate) fn may(&self, scope: &str) -> bool {
        self.scope.split_whitespace().any(|granted| {
            granted == "default"
                || granted == scope
                || granted
                    .strip_suffix(":write")
                    .is_some_and(|family| scope.strip_suffix(":read") == Some(family))
        })
    }

    /// Refuses a caller whose grant does not cover `scope`.
    pub(crate) fn need(self, scope: &str) -> Result<Self, Refusal> {
        if self.may(scope) {
            Ok(self)
        } else {
            Err(insufficient_scope(scope))
        }
    }
}

// === impl Calendly ===

impl Calendly {
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let invalid = || unauthenticated("is invalid");
        let token = bearer(headers).ok_or_else(invalid)?;
        let now = self.stage.now();
        let state = self.state.lock();
        let grant = state
            .access
            .get(token)
            .and_then(|number| state.grants.get(number))
            .ok_or_else(invalid)?;
        if grant.access_revoked {
            return Err(unauthenticated("was revoked"));
        }
        if grant.expires_at <= now {
            return Err(unauthenticated("expired"));
        }
        let user = state.users.get(&grant.user).ok_or_else(invalid)?;
        Ok(Caller {
            id: user.id.clone(),
            name: user.name.clone(),
            organization: user.organization.clone(),
            owner: user.owner,
            free_plan: user.free_plan,
            scope: grant.scope.clone(),
        })
    }
}
