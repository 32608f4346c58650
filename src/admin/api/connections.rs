//! `/v1/connections`: who is connected, how that stands, and what can be done about it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{Api, ConnectionView, Route, view::WholeView};
use crate::{
    admin::{
        Trouble,
        extract::{Key, Params},
        page::{Limit, Page, Place, place},
    },
    base::ids::{ConnectionKey, ProviderName, UserId},
    meeting::Progress,
    store::{Connection, Filter},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/connections", list),
        Route::get("/connections/{provider}/{user}", show),
        Route::delete("/connections/{provider}/{user}", disconnect),
        Route::post("/connections/{provider}/{user}/refresh", refresh),
        Route::post("/connections/{provider}/{user}/sync", sync),
    ]
}

/// Which connections.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those of this provider.
    provider: Option<ProviderName>,
    /// Only those that stand so.
    status: Option<StatusWord>,
    /// Only of users whose id begins so; needs a provider.
    user_prefix: Option<UserId>,
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// How a connection stands.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusWord {
    Active,
    NeedsReauth,
}

/// How to renew.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    /// With the client's own secret, where the provider has that.
    #[serde(default)]
    force: bool,
}

/// What became of a connection that was removed.
#[derive(Serialize)]
struct Removed {
    /// What became of its tokens at the provider: `revoked`, `not_offered` or `failed`.
    revocation: &'static str,
}

/// A sync that was asked for.
#[derive(Serialize)]
struct Asked {
    /// How far it is.
    sync: Option<Progress>,
}

/// The last connection of a page.
#[derive(Serialize, Deserialize)]
struct Last(ProviderName, UserId);

impl Place for Last {
    const LIST: &'static str = "connections";
}

async fn list(
    State(api): State<Api>,
    Params(which): Params<Which>,
) -> Result<Json<Page<ConnectionView>>, Trouble> {
    let filter = Filter {
        provider: which.provider.clone(),
        needs_reauth: which
            .status
            .map(|status| matches!(status, StatusWord::NeedsReauth)),
    };
    let after = place(which.cursor.as_deref())?;
    let is_first = after.is_none();
    let mut after = after.map(|Last(provider, user)| ConnectionKey { provider, user });
    if let Some(prefix) = &which.user_prefix {
        let Some(provider) = which.provider.clone() else {
            return Err(Trouble::Parameter {
                name: Some("user_prefix".to_owned()),
                what: "user_prefix needs a provider".to_owned(),
            });
        };
        let begin = before(prefix).map(|user| ConnectionKey { provider, user });
        // Keys are in the order of their bytes, so those with the prefix stand together.
        after = after.max(begin);
    }
    let mut found = api
        .store
        .page(&filter, after.as_ref(), which.limit.and_one())
        .await?;
    if let Some(prefix) = &which.user_prefix {
        let fits = |one: &Connection| one.key.user.as_str().starts_with(prefix.as_str());
        let end = found.iter().position(|one| !fits(one));
        found.truncate(end.unwrap_or(found.len()));
    }
    if let (true, true, Some(provider)) = (found.is_empty(), is_first, &which.provider) {
        // Those of a provider that is no longer configured are listed while there are any.
        api.knows(provider)?;
    }
    let end = |last: &Connection| Last(last.key.provider.clone(), last.key.user.clone());
    Ok(Json(Page::of(found, which.limit, end, |one| (&one).into())))
}

/// The user id that comes right before all that begin with `prefix`; `None` if there is none.
fn before(prefix: &UserId) -> Option<UserId> {
    let (last, rest) = prefix.as_str().as_bytes().split_last()?;
    let mut bytes = rest.to_vec();
    if *last > b'!' {
        bytes.push(last - 1);
        bytes.resize(UserId::MAX_LEN, b'~');
    }
    UserId::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

async fn show(State(api): State<Api>, Key(key): Key) -> Result<Json<WholeView>, Trouble> {
    let connection = api.load(&key).await?;
    Ok(Json(api.whole(&connection).await?))
}

async fn disconnect(State(api): State<Api>, Key(key): Key) -> Result<Json<Removed>, Trouble> {
    let (connect, of) = (api.connect.clone(), key.clone());
    let removing = async move { Ok(connect.disconnect(&of).await?) };
    let Some(revocation) = api.finish(removing).await? else {
        api.knows(&key.provider)?;
        return Err(Trouble::NotConnected(key));
    };
    let revocation = revocation.as_str();
    Ok(Json(Removed { revocation }))
}

async fn refresh(
    State(api): State<Api>,
    Key(key): Key,
    Params(how): Params<How>,
) -> Result<Json<WholeView>, Trouble> {
    // The renewal is a task of its own already.
    api.tokens.refresh(&key, how.force).await?;
    let connection = api.load(&key).await?;
    Ok(Json(api.whole(&connection).await?))
}

async fn sync(State(api): State<Api>, Key(key): Key) -> Result<(StatusCode, Json<Asked>), Trouble> {
    api.load(&key).await?;
    let (asking, of) = (Arc::clone(&api), key.clone());
    let asked = api
        .finish(async move { Ok(asking.sync.ask_for(&of).await?) })
        .await?;
    if !asked {
        return Err(Trouble::NoMeetings);
    }
    let sync = api.sync.progress(&key).await?;
    Ok((StatusCode::ACCEPTED, Json(Asked { sync })))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_begins_with_a_prefix_comes_after_and_all_else_that_does_is_greater(
            prefix in "[!-~]{1,4}",
            other in "[!-~]{1,6}",
        ) {
            let prefix = UserId::parse(&prefix).unwrap();
            let other = UserId::parse(&other).unwrap();
            let comes_after = before(&prefix).is_none_or(|before| other > before);
            let is_not_less = other >= prefix;
            prop_assert_eq!(comes_after, is_not_less);
        }
    }
}
