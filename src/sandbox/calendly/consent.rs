//! The authorize page (§1.1, §1.5).

use std::time::Duration;

use super::{
    Calendly,
    grants::{ALL_SCOPES, CATALOGUE},
    state::{CLIENT, Code},
};
use crate::sandbox::{
    NewUser,
    consent::{Asked, Consent, Trouble},
    switches::ClientStatus,
};

/// §1.1.
const CODE_LIFE: Duration = Duration::from_mins(10);

impl Consent for Calendly {
    const SERVICE: &'static str = "Calendly";

    fn examine(&self, asked: &Asked) -> Result<String, Trouble> {
        let text = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let approved = self
            .stage
            .switch(|switches| switches.client_status == ClientStatus::Approved);
        if text("client_id") != CLIENT || !approved {
            return Err(Trouble::Page(
                "Client authentication failed due to unknown client.",
            ));
        }
        if !self.stage.may_redirect(text("redirect_uri")) {
            return Err(Trouble::Page("The redirect uri included is not valid."));
        }
        if text("response_type") != "code" {
            return Err(Trouble::Back(
                "unsupported_response_type",
                "The authorization server does not support this response type.",
            ));
        }
        if asked.contains_key("code_challenge") && text("code_challenge_method") != "S256" {
            return Err(Trouble::Back(
                "invalid_request",
                "The code_challenge_method must be S256.",
            ));
        }
        self.granted(text("scope"))
    }

    fn code(&self, asked: &Asked, scope: &str, user: &str) -> Result<String, String> {
        let code = self.stage.hex::<20>();
        let mut state = self.state.lock();
        let user = self.user_named(&mut state, &NewUser::named(user))?;
        state.codes.insert(
            code.clone(),
            Code {
                user: user.id,
                redirect_uri: asked.get("redirect_uri").cloned().unwrap_or_default(),
                scope: scope.to_owned(),
                challenge: asked.get("code_challenge").cloned(),
                expires_at: self.stage.now().saturating_add(CODE_LIFE),
            },
        );
        Ok(code)
    }

    fn names(&self) -> Vec<String> {
        let state = self.state.lock();
        state.users.values().map(|user| user.name.clone()).collect()
    }
}

// === impl Calendly ===

impl Calendly {
    /// §1.5: a legacy app takes no granular scope; nobody takes an unknown one.
    fn granted(&self, scope: &str) -> Result<String, Trouble> {
        let legacy = self.stage.switch(|switches| switches.calendly.legacy_app);
        let valid = scope.split_whitespace().all(|one| {
            if legacy {
                one == "default"
            } else {
                CATALOGUE.contains(&one)
            }
        });
        match (valid, scope, legacy) {
            (false, ..) => Err(Trouble::Back(
                "invalid_scope",
                "The requested scope is invalid, unknown, or malformed.",
            )),
            (true, "", true) => Ok("default".to_owned()),
            (true, "", false) => Ok(ALL_SCOPES.to_owned()),
            (true, scope, _) => Ok(scope.to_owned()),
        }
    }
}
