//! `/v1/connections`: who is connected, how that stands, and what can be done about it.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{Api, ConnectionView, Parts, Route, view::WholeView};
use crate::{
    admin::{
        Trouble,
        extract::{Key, Params},
        page::{Limit, Page, Place, place},
    },
    base::ids::{ConnectionKey, ProviderName, UserId},
    meeting::Progress,
    store::{Connection, Filter},
    token::Revocation,
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

/// Which connections to look for.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Selection {
    /// Of which provider, and how they stand.
    pub(in crate::admin) filter: Filter,
    /// Only of users whose id begins so.
    pub(in crate::admin) user_prefix: Option<UserId>,
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
    if which.user_prefix.is_some() && which.provider.is_none() {
        return Err(Trouble::Parameter {
            name: Some("user_prefix".to_owned()),
            what: "user_prefix needs a provider".to_owned(),
        });
    }
    let selection = Selection {
        filter: Filter {
            provider: which.provider,
            needs_reauth: which
                .status
                .map(|status| matches!(status, StatusWord::NeedsReauth)),
        },
        user_prefix: which.user_prefix,
    };
    let cursor = which.cursor.as_deref();
    let page = api.connections(&selection, cursor, which.limit).await?;
    if let (true, None, Some(provider)) =
        (page.items.is_empty(), cursor, &selection.filter.provider)
    {
        // Those of a provider that is no longer configured are listed while there are any.
        api.knows(provider)?;
    }
    Ok(Json(page))
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
    let revocation = api.disconnect(&key).await?.as_str();
    Ok(Json(Removed { revocation }))
}

async fn refresh(
    State(api): State<Api>,
    Key(key): Key,
    Params(how): Params<How>,
) -> Result<Json<WholeView>, Trouble> {
    api.renew(&key, how.force).await?;
    let connection = api.load(&key).await?;
    Ok(Json(api.whole(&connection).await?))
}

async fn sync(State(api): State<Api>, Key(key): Key) -> Result<(StatusCode, Json<Asked>), Trouble> {
    api.ask_for_sync(&key).await?;
    let sync = api.sync.progress(&key).await?;
    Ok((StatusCode::ACCEPTED, Json(Asked { sync })))
}

// === impl Parts ===

impl Parts {
    /// Takes the subscription of `key` back, revokes its tokens, and forgets it.
    pub(in crate::admin) async fn disconnect(
        &self,
        key: &ConnectionKey,
    ) -> Result<Revocation, Trouble> {
        let (connect, of) = (self.connect.clone(), key.clone());
        let removing = async move { Ok(connect.disconnect(&of).await?) };
        let Some(revocation) = self.finish(removing).await? else {
            self.knows(&key.provider)?;
            return Err(Trouble::NotConnected(key.clone()));
        };
        Ok(revocation)
    }

    /// Renews `key` now.
    pub(in crate::admin) async fn renew(
        &self,
        key: &ConnectionKey,
        force: bool,
    ) -> Result<(), Trouble> {
        // The renewal is a task of its own already.
        self.tokens.refresh(key, force).await?;
        Ok(())
    }

    /// Asks for all meetings of `key` to be read.
    pub(in crate::admin) async fn ask_for_sync(&self, key: &ConnectionKey) -> Result<(), Trouble> {
        self.load(key).await?;
        let (sync, of) = (self.sync.clone(), key.clone());
        let asking = async move { Ok(sync.ask_for(&of).await?) };
        if self.finish(asking).await? {
            Ok(())
        } else {
            Err(Trouble::NoMeetings)
        }
    }

    /// A page of those that `selection` selects. Without a provider, those that begin with a prefix are
    /// looked for at each configured provider: nowhere is more read than is shown.
    pub(in crate::admin) async fn connections(
        &self,
        selection: &Selection,
        cursor: Option<&str>,
        limit: Limit,
    ) -> Result<Page<ConnectionView>, Trouble> {
        let after = place(cursor)?.map(|Last(provider, user)| ConnectionKey { provider, user });
        let wanted = limit.and_one();
        let found = match (&selection.filter.provider, &selection.user_prefix) {
            (_, None) => {
                let page = self.store.page(&selection.filter, after.as_ref(), wanted);
                page.await?
            }
            (Some(provider), Some(prefix)) => {
                let needs_reauth = selection.filter.needs_reauth;
                self.beginning_with(prefix, provider, needs_reauth, after.as_ref(), wanted)
                    .await?
            }
            (None, Some(prefix)) => {
                let mut found = Vec::new();
                for provider in &self.providers {
                    let (left, needs_reauth) =
                        (wanted - found.len(), selection.filter.needs_reauth);
                    let more = self
                        .beginning_with(prefix, provider, needs_reauth, after.as_ref(), left)
                        .await?;
                    found.extend(more);
                    if found.len() >= wanted {
                        break;
                    }
                }
                found
            }
        };
        let end = |last: &Connection| Last(last.key.provider.clone(), last.key.user.clone());
        Ok(Page::of(found, limit, end, |one| (&one).into()))
    }

    /// Up to `limit` connections at `provider` whose user's id begins with `prefix`.
    async fn beginning_with(
        &self,
        prefix: &UserId,
        provider: &ProviderName,
        needs_reauth: Option<bool>,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Trouble> {
        let filter = Filter {
            provider: Some(provider.clone()),
            needs_reauth,
        };
        let begin = before(prefix).map(|user| ConnectionKey {
            provider: provider.clone(),
            user,
        });
        // Keys are in the order of their bytes, so those with the prefix stand together.
        let after = after.cloned().max(begin);
        let mut found = self.store.page(&filter, after.as_ref(), limit).await?;
        let fits = |one: &Connection| one.key.user.as_str().starts_with(prefix.as_str());
        let end = found.iter().position(|one| !fits(one));
        found.truncate(end.unwrap_or(found.len()));
        Ok(found)
    }
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
