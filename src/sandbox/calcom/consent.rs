//! The authorize page of user-level `OAuth2` (§1b).

use std::time::Duration;

use super::{
    Calcom,
    grants::ALL_SCOPES,
    state::{CLIENT, Code, PUBLIC_CLIENT},
};
use crate::sandbox::{
    consent::{Asked, Consent, Trouble},
    switches::ClientStatus,
};

/// §1b.
const CODE_LIFE: Duration = Duration::from_mins(10);

/// Families whose scopes no emulated route looks at, but which are known.
const OTHER_FAMILIES: [&str; 6] = [
    "APPS_",
    "VERIFIED_RESOURCES_",
    "CREDITS_",
    "INSIGHTS_",
    "TEAM_",
    "ORG_",
];

impl Consent for Calcom {
    const SERVICE: &'static str = "Cal.com";

    fn examine(&self, asked: &Asked) -> Result<String, Trouble> {
        let text = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let public = match text("client_id") {
            CLIENT => false,
            PUBLIC_CLIENT => true,
            _ => return Err(Trouble::Page("OAuth client with this id was not found")),
        };
        match self.stage.switch(|switches| switches.client_status) {
            ClientStatus::Approved => {}
            ClientStatus::Pending => return Err(Trouble::Page("OAuth client is not approved")),
            ClientStatus::Rejected => return Err(Trouble::Page("OAuth client was rejected")),
        }
        if !self.stage.may_redirect(text("redirect_uri")) {
            return Err(Trouble::Page(
                "redirect_uri does not match a registered one",
            ));
        }
        if !["", "code"].contains(&text("response_type")) {
            let why = "response_type must be code";
            return Err(Trouble::Back("unsupported_response_type", why));
        }
        let challenged = !text("code_challenge").is_empty();
        if public && !challenged || challenged && text("code_challenge_method") != "S256" {
            let why = "pkce_missing_parameters_or_invalid_method";
            return Err(Trouble::Back("invalid_request", why));
        }
        granted(text("scope"))
    }

    fn code(&self, asked: &Asked, scope: &str, user: &str) -> Result<String, String> {
        let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let code = self.stage.hex::<20>();
        let mut state = self.state.lock();
        let user = self.user_named(&mut state, user, false);
        state.codes.insert(
            code.clone(),
            Code {
                client: text("client_id"),
                user: user.id,
                redirect_uri: text("redirect_uri"),
                scope: scope.to_owned(),
                challenge: asked.get("code_challenge").cloned(),
                expires_at: self.stage.now().saturating_add(CODE_LIFE),
            },
        );
        Ok(code)
    }

    fn names(&self) -> Vec<String> {
        let state = self.state.lock();
        let own = state.users.values().filter(|user| !user.managed);
        own.map(|user| user.name.clone())
            .filter(|name| name != "platform-owner")
            .collect()
    }
}

/// §1b: separated by spaces or commas, and required.
fn granted(scope: &str) -> Result<String, Trouble> {
    let known: Vec<_> = ALL_SCOPES.split_whitespace().collect();
    let scopes: Vec<_> = scope
        .split([' ', ','])
        .filter(|one| !one.is_empty())
        .collect();
    if scopes.is_empty() {
        return Err(Trouble::Back("invalid_request", "scope is required"));
    }
    let unknown = |one: &&&str| {
        !known.contains(one)
            && !["READ_BOOKING", "READ_PROFILE"].contains(one)
            && !OTHER_FAMILIES.iter().any(|family| one.starts_with(family))
    };
    if scopes.iter().any(|one| unknown(&one)) {
        return Err(Trouble::Back(
            "invalid_scope",
            "Requested scope is not valid",
        ));
    }
    Ok(scopes.join(" "))
}
