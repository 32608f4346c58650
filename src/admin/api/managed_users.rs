//! `/v1/managed-users`: users that the platform client makes and owns.
//!
//! Making one that exists adopts it, so a call whose answer was lost can be made again.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{Api, Route, view::WholeView};
use crate::{
    admin::{
        Trouble,
        extract::{Body, Key, Line, Params},
        page::{Place, cursor, place},
    },
    base::ids::{ConnectionKey, ProviderName, UserId},
    connect::Managed,
    provider::{More, NewManagedUser},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/managed-users", list),
        Route::post("/managed-users", create),
        Route::delete("/managed-users/{provider}/{user}", delete),
    ]
}

/// Which managed users.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Of this provider's platform client.
    provider: ProviderName,
    cursor: Option<String>,
}

/// A managed user to make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    provider: ProviderName,
    /// Whose account it will be.
    user: UserId,
    email: Line,
    name: Line,
    /// IANA name; the provider's default if absent.
    time_zone: Option<Line>,
    /// BCP 47; the provider's default if absent.
    locale: Option<Line>,
}

/// What came of making one.
#[derive(Serialize)]
struct Made {
    /// `created`, `adopted` or `unchanged`.
    outcome: &'static str,
    connection: WholeView,
}

/// A page of managed users; the provider decides how long one is.
#[derive(Serialize)]
struct ManagedPage {
    items: Vec<ManagedUserView>,
    next_cursor: Option<String>,
    /// Whether there may be more, which the provider gives no way to ask for.
    is_cut: bool,
}

/// A managed user.
#[derive(Serialize)]
struct ManagedUserView {
    id: i64,
    email: Option<String>,
    name: Option<String>,
    username: Option<String>,
    /// Which user of the app has it; `null` if nobody does.
    user: Option<UserId>,
}

/// A managed user that is gone.
#[derive(Serialize)]
struct Deleted {
    deleted: bool,
}

/// Where a page ends, as the provider counts.
#[derive(Serialize, Deserialize)]
struct After(u32);

impl Place for After {
    const LIST: &'static str = "managed-users";
}

async fn list(
    State(api): State<Api>,
    Params(which): Params<Which>,
) -> Result<Json<ManagedPage>, Trouble> {
    let after = place(which.cursor.as_deref())?.map(|After(after)| after);
    let found = api.connect.list_managed(&which.provider, after).await?;
    let items = found
        .users
        .into_iter()
        .map(|(user, owner)| ManagedUserView {
            id: user.id,
            email: user.email,
            name: user.name,
            username: user.username,
            user: owner,
        });
    Ok(Json(ManagedPage {
        items: items.collect(),
        next_cursor: match found.more {
            More::After(after) => Some(cursor(&After(after))),
            More::End | More::OutOfReach => None,
        },
        is_cut: found.more == More::OutOfReach,
    }))
}

async fn create(
    State(api): State<Api>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Json<Made>), Trouble> {
    let key = ConnectionKey {
        provider: order.provider,
        user: order.user,
    };
    let text = |line: Option<Line>| line.map(|Line(text)| text);
    let wanted = NewManagedUser {
        email: order.email.0,
        name: order.name.0,
        time_zone: text(order.time_zone),
        locale: text(order.locale),
    };
    let connect = api.connect.clone();
    let making = async move { Ok(connect.create_managed(&key, &wanted).await?) };
    let (status, outcome, connection) = match api.finish(making).await? {
        Managed::Created(connection) => (StatusCode::CREATED, "created", connection),
        Managed::Adopted(connection) => (StatusCode::CREATED, "adopted", connection),
        Managed::Unchanged(connection) => (StatusCode::OK, "unchanged", connection),
    };
    let connection = api.whole(&connection).await?;
    let made = Made {
        outcome,
        connection,
    };
    Ok((status, Json(made)))
}

async fn delete(State(api): State<Api>, Key(key): Key) -> Result<Json<Deleted>, Trouble> {
    let (connect, of) = (api.connect.clone(), key.clone());
    let deleting = async move { Ok(connect.delete_managed(&of).await?) };
    if api.finish(deleting).await? {
        Ok(Json(Deleted { deleted: true }))
    } else {
        Err(Trouble::NotConnected(key))
    }
}
