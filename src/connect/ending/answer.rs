//! What a browser is shown that has nowhere to return to, and what a program is told in its place.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::{
    super::{
        page::Page,
        told::{Reader, Told},
    },
    Ending, Note, Reason,
};
use crate::base::ids::ProviderName;

// === impl Ending ===

impl Ending {
    /// The answer for a browser that has nowhere to return to. `service` is what people call the
    /// provider; `again` leads back to the consent page.
    pub(in crate::connect) fn answer(
        &self,
        reader: Reader,
        provider: &ProviderName,
        service: &str,
        again: &str,
    ) -> Response {
        let members = self.told(provider);
        if let Self::Connected { notes, .. } = self {
            return connected(reader, service, notes, &members);
        }
        let again = self.may_be_tried_again().then_some(again);
        self.explained(service).answer(reader, again, &members)
    }

    /// Whether its user can do anything about it by trying again.
    const fn may_be_tried_again(&self) -> bool {
        match self {
            Self::Connected { .. } => false,
            Self::Denied => true,
            Self::Failed(reason) => !matches!(reason, Reason::ClientRefused | Reason::ScopeRefused),
        }
    }

    fn explained(&self, service: &str) -> Told {
        let reason = match self {
            Self::Failed(reason) => reason,
            Self::Denied | Self::Connected { .. } => {
                return Told::new(
                    StatusCode::FORBIDDEN,
                    "connect-denied",
                    format!("{service} is not connected"),
                    "You said no, and nothing was changed. You can close this window, or start again.",
                )
                .with_detail("the user said no");
            }
        };
        let (status, text) = match reason {
            Reason::CodeRefused => (
                StatusCode::BAD_REQUEST,
                format!("{service} says that this took too long, or was used already. Start again."),
            ),
            Reason::ClientRefused | Reason::ScopeRefused => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "The app is not set up correctly for {service}. You cannot mend that; please tell \
                     the people who run it."
                ),
            ),
            Reason::ScopeMissing(_) => (
                StatusCode::FORBIDDEN,
                "Too little was allowed to know whose account it is. Start again, and allow what is \
                 asked for."
                    .to_owned(),
            ),
            Reason::ProviderUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{service} does not answer as it should just now. Start again in a minute."),
            ),
            Reason::Refused => (
                StatusCode::BAD_GATEWAY,
                format!("{service} refused, and did not say why. Start again."),
            ),
            Reason::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The connection could not be kept just now. Start again in a minute.".to_owned(),
            ),
        };
        Told::new(
            status,
            "connect-failed",
            format!("{service} is not connected"),
            text,
        )
        .with_detail(format!("nobody was connected: {reason}"))
    }
}

fn connected(
    reader: Reader,
    service: &str,
    notes: &[Note],
    members: &[(&'static str, String)],
) -> Response {
    if reader == Reader::Program {
        let object: Map<_, _> = members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect();
        let mut response = Response::new(Body::from(Value::Object(object).to_string()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        return response;
    }
    let mut text = "You can close this window and go back to the app.".to_owned();
    if notes.contains(&Note::AccountChanged) {
        text.push_str(" It is another account than before.");
    }
    if notes.contains(&Note::ScopeMissing) {
        text.push_str(
            " Not everything was allowed that the app asked for: some of it may not work.",
        );
    }
    let page = Page {
        title: format!("{service} is connected"),
        text,
        link: None,
    };
    page.into_response(StatusCode::OK)
}
