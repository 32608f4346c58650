//! What a form or an address says: names and values, as browsers send them.
//!
//! 1. A browser sends every field of a form, so one that is empty is one that was not filled in.
//! 2. A value that cannot be is refused, and never repeated as it came.
//! 3. A form that changes something must carry the token that it was given.

use std::str::FromStr;

use axum::extract::Request;
use http::header::CONTENT_TYPE;
use url::form_urlencoded;

use super::{Room, door::Visitor};
use crate::{
    admin::{Trouble, api},
    base::ids::{ConnectionKey, ProviderName, UserId},
    store::DeliveryId,
};

/// The largest form, in bytes: a page of deliveries, all of them chosen, is a tenth.
const MAX_FORM: usize = 64 * 1024;

/// The name of the field with the form's token.
const TOKEN: &str = "form_token";

/// Names and values, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

// === impl Fields ===

impl Fields {
    pub(super) fn of_query(request: &Request) -> Self {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    /// The form that the body is, whoever made it.
    pub(super) async fn of_body(request: Request) -> Result<Self, Trouble> {
        let kind = request.headers().get(CONTENT_TYPE);
        let is_form = kind
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .is_some_and(|kind| {
                kind.trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if !is_form {
            return Err(Trouble::NotForm);
        }
        let read = axum::body::to_bytes(request.into_body(), MAX_FORM).await;
        let body = read.map_err(|_too_long| Trouble::TooLarge)?;
        Ok(Self::parse(&body))
    }

    /// The form that the body is, if it is one of ours.
    pub(super) async fn of_form(room: &Room, request: Request) -> Result<Self, Trouble> {
        let visitor = request.extensions().get::<Visitor>().copied();
        let visitor = visitor.ok_or(Trouble::StaleForm)?;
        let fields = Self::of_body(request).await?;
        let shown = fields.one(TOKEN).unwrap_or_default();
        if room.sessions.is_form_token(visitor.session, shown) {
            Ok(fields)
        } else {
            Err(Trouble::StaleForm)
        }
    }

    /// The first value of `name` that is not empty, without space around it.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(other, _)| other == name);
        named
            .find(|(_, value)| !value.trim().is_empty())
            .map(|(_, value)| value.trim())
    }

    /// All values of `name` that are not empty.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(other, _)| other == name);
        let values = named.map(|(_, value)| value.trim());
        values.filter(|value| !value.is_empty())
    }

    /// The value of `name`, which may be absent.
    pub(super) fn parsed<T: FromStr<Err: ToString>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Trouble> {
        let Some(text) = self.one(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|error: T::Err| bad(name, &error.to_string()))
    }

    /// The user that is looked for, or what is wrong with it: a page tells that beside the field.
    pub(super) fn sought(&self) -> (Option<UserId>, Option<String>) {
        match self.one("user").map(UserId::parse) {
            None => (None, None),
            Some(Ok(user)) => (Some(user), None),
            Some(Err(error)) => (None, Some(error.to_string())),
        }
    }

    /// One of the words that `read` knows, or none.
    pub(super) fn word<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Trouble> {
        let Some(text) = self.one(name) else {
            return Ok(None);
        };
        match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(bad(name, "this is none of those to choose from")),
        }
    }

    /// The connection that `provider` and `user` name.
    pub(super) fn key(&self) -> Result<ConnectionKey, Trouble> {
        let missing = |name| bad(name, "it is missing");
        let provider: ProviderName = self
            .parsed("provider")?
            .ok_or_else(|| missing("provider"))?;
        let user = self.parsed("user")?.ok_or_else(|| missing("user"))?;
        Ok(ConnectionKey { provider, user })
    }

    /// The deliveries that `id` names.
    pub(super) fn ids(&self) -> Result<Vec<DeliveryId>, Trouble> {
        self.all("id").map(api::number).collect()
    }

    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }
}

fn bad(name: &str, what: &str) -> Trouble {
    Trouble::Parameter {
        name: Some(name.to_owned()),
        what: format!("{name}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::UserId;

    #[test]
    fn what_was_not_filled_in_is_not_there() {
        let fields = Fields::parse(b"user=+&provider=&status=dead&id=1&id=+2+&id=");
        assert_eq!(fields.one("user"), None);
        assert!(fields.parsed::<ProviderName>("provider").unwrap().is_none());
        assert_eq!(fields.one("status"), Some("dead"));
        let ids: Vec<_> = fields.ids().unwrap().into_iter().map(|id| id.0).collect();
        assert_eq!(ids, [1, 2]);
    }

    #[test]
    fn what_cannot_be_is_refused_and_not_repeated() {
        let fields = Fields::parse(b"user=a+b&id=%3Cscript%3E&status=s3cret");
        for refused in [
            fields.parsed::<UserId>("user").map(drop).unwrap_err(),
            fields.ids().map(drop).unwrap_err(),
            fields.word("status", |_| None::<()>).map(drop).unwrap_err(),
        ] {
            let told = refused.to_string();
            for came in ["a b", "script", "s3cret"] {
                assert!(!told.contains(came), "{told}");
            }
        }
    }
}
