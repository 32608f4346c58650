//! `/v1/connections`: who is connected, how that stands, and what can be done about it.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, ConnectionView, Parts, Route, view::WholeView};
use crate::{
    admin::{
        Trouble,
        audit::{Action, Actor, Order},
        extract::{Key, Params},
        kinds::{self, Kind},
        page::{Limit, MAX_CURSOR, Page, Place, place},
    },
    base::ids::{ConnectionKey, ProviderName, UserId},
    meeting::Progress,
    store::{Connection, Filter},
    token::Revocation,
};

/// The address of one connection.
const ONE: &str = "/connections/{provider}/{user}";

/// What can be in the way of whatever is about one connection.
const OF_ONE: &[Kind] = &[
    kinds::NOT_CONNECTED,
    kinds::UNKNOWN_PROVIDER,
    kinds::INCONSISTENT_RECORD,
    kinds::STORE_UNAVAILABLE,
];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/connections", "listConnections", list)
            .does("Lists connections in the order of provider and user.")
            .asks::<Which>()
            .answers::<Page<ConnectionView>>(200, "A page of them.")
            .fails(&[
                kinds::UNKNOWN_PROVIDER,
                kinds::INCONSISTENT_RECORD,
                kinds::STORE_UNAVAILABLE,
            ]),
        Route::get(ONE, "showConnection", show)
            .does("Shows one connection, with its webhook subscription and its sync.")
            .answers::<WholeView>(200, "The connection.")
            .fails(OF_ONE),
        Route::delete(ONE, "disconnect", disconnect)
            .does("Disconnects a user.")
            .with(
                "Takes the webhook subscription back, revokes the tokens, and forgets the connection with \
                 its meetings.",
            )
            .answers::<Removed>(200, "The user is no longer connected.")
            .fails(OF_ONE),
        Route::post("/connections/{provider}/{user}/refresh", "refresh", refresh)
            .does("Renews a connection's token now.")
            .asks::<How>()
            .answers::<WholeView>(200, "The connection, with its new times.")
            .fails(OF_ONE)
            .fails(&[
                kinds::NEEDS_REAUTH,
                kinds::REFRESH_FAILED,
                kinds::PROVIDER_MISCONFIGURED,
            ]),
        Route::post("/connections/{provider}/{user}/sync", "sync", sync)
            .does("Asks for all meetings of a connection to be read.")
            .answers::<Asked>(202, "They will be; `sync` of the connection shows how far that is.")
            .fails(OF_ONE)
            .fails(&[kinds::NO_MEETINGS]),
    ]
}

/// Which connections.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those of this provider.
    provider: Option<ProviderName>,
    /// Only those that stand so.
    status: Option<StatusWord>,
    /// Only of users whose id begins so; needs a provider.
    user_prefix: Option<UserId>,
    /// Where the page begins: the `next_cursor` of the one before.
    #[schemars(length(max = MAX_CURSOR))]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// How a connection stands.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ConnectionStatus")]
pub(super) enum StatusWord {
    /// It can be used.
    Active,
    /// Only its user can mend it, by connecting again.
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
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct How {
    /// With the client's own secret, where the provider has that (Cal.com's managed users).
    #[serde(default)]
    force: bool,
}

/// What became of a connection that was removed.
#[derive(Serialize, JsonSchema)]
struct Removed {
    /// What became of its tokens at the provider: `revoked`, `not_offered` or `failed`.
    #[schemars(extend("enum" = ["revoked", "not_offered", "failed"]))]
    revocation: &'static str,
}

/// A sync that was asked for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SyncAsked")]
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

async fn disconnect(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Key(key): Key,
) -> Result<Json<Removed>, Trouble> {
    let revocation = api.disconnect(actor, &key).await?.as_str();
    Ok(Json(Removed { revocation }))
}

async fn refresh(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Key(key): Key,
    Params(how): Params<How>,
) -> Result<Json<WholeView>, Trouble> {
    api.renew(actor, &key, how.force).await?;
    let connection = api.load(&key).await?;
    Ok(Json(api.whole(&connection).await?))
}

async fn sync(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Key(key): Key,
) -> Result<(StatusCode, Json<Asked>), Trouble> {
    api.ask_for_sync(actor, &key).await?;
    let sync = api.sync.progress(&key).await?;
    Ok((StatusCode::ACCEPTED, Json(Asked { sync })))
}

// === impl Parts ===

impl Parts {
    /// Takes the subscription of `key` back, revokes its tokens, and forgets it.
    pub(in crate::admin) async fn disconnect(
        self: &Arc<Self>,
        actor: Actor,
        key: &ConnectionKey,
    ) -> Result<Revocation, Trouble> {
        let order = Order::to(Action::Disconnect).about(key);
        let (asked, key) = (Arc::clone(self), key.clone());
        let removing = async move {
            if let Some(revocation) = asked.connect.disconnect(&key).await? {
                return Ok(revocation);
            }
            asked.knows(&key.provider)?;
            Err(Trouble::NotConnected(key))
        };
        let tell = |revocation: &Revocation| Some(format!("tokens {}", revocation.as_str()));
        self.audited(actor, order, removing, tell).await
    }

    /// Renews `key` now.
    pub(in crate::admin) async fn renew(
        &self,
        actor: Actor,
        key: &ConnectionKey,
        is_forced: bool,
    ) -> Result<(), Trouble> {
        let forced = is_forced.then(|| "force".to_owned());
        let order = Order::to(Action::Refresh).about(key).with(forced);
        let (tokens, of) = (self.tokens.clone(), key.clone());
        let renewing = async move { Ok(tokens.refresh(&of, is_forced).await.map(drop)?) };
        self.audited(actor, order, renewing, |()| None).await
    }

    /// Asks for all meetings of `key` to be read.
    pub(in crate::admin) async fn ask_for_sync(
        self: &Arc<Self>,
        actor: Actor,
        key: &ConnectionKey,
    ) -> Result<(), Trouble> {
        let order = Order::to(Action::Sync).about(key);
        let (asked, of) = (Arc::clone(self), key.clone());
        let asking = async move {
            asked.load(&of).await?;
            if asked.sync.ask_for(&of).await? {
                Ok(())
            } else {
                Err(Trouble::NoMeetings)
            }
        };
        self.audited(actor, order, asking, |()| None).await
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
