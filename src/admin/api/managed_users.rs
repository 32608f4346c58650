//! `/v1/managed-users`: users that the platform client makes and owns.
//!
//! Making one that exists adopts it, so a call whose answer was lost can be made again.

use axum::{Extension, Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Route, view::WholeView};
use crate::{
    admin::{
        Trouble,
        audit::{Action, Actor, Order as Audited},
        extract::{Body, Key, Line, Params},
        kinds::{self, Kind},
        page::{MAX_CURSOR, Place, cursor, place},
    },
    base::ids::{ConnectionKey, ProviderName, UserId},
    connect::Managed,
    provider::{More, NewManagedUser},
    store::Connection,
};

/// What can be in the way of whatever asks the provider.
const OF_PROVIDER: &[Kind] = &[
    kinds::UNKNOWN_PROVIDER,
    kinds::NO_MANAGED_USERS,
    kinds::INCONSISTENT_RECORD,
    kinds::UPSTREAM_UNREACHABLE,
    kinds::UPSTREAM_PROTOCOL,
    kinds::PROVIDER_MISCONFIGURED,
    kinds::PROVIDER_BUSY,
    kinds::STORE_UNAVAILABLE,
];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/managed-users", "listManagedUsers", list)
            .does("Lists the managed users of a provider's platform client.")
            .with("The provider decides how long a page is.")
            .asks::<Which>()
            .answers::<ManagedPage>(
                200,
                "A page of them, each with the user of the app who has it.",
            )
            .fails(OF_PROVIDER),
        Route::post("/managed-users", "createManagedUser", create)
            .does("Makes a managed user and connects it.")
            .with("One that exists with this address is adopted, unless it is another user's.")
            .takes::<Order>()
            .answers::<Made>(200, "`unchanged`.")
            .answers::<Made>(201, "`created` or `adopted`.")
            .fails(OF_PROVIDER)
            .fails(&[
                kinds::OTHER_ACCOUNT,
                kinds::MANAGED_USER_TAKEN,
                kinds::MANAGED_USER_REFUSED,
            ]),
        Route::delete(
            "/managed-users/{provider}/{user}",
            "deleteManagedUser",
            delete,
        )
        .does(
            "Deletes a user's account at the provider, with everything in it, and the connection.",
        )
        .answers::<Deleted>(200, "It is gone.")
        .fails(OF_PROVIDER)
        .fails(&[kinds::NOT_CONNECTED, kinds::NOT_MANAGED]),
    ]
}

/// Which managed users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Of this provider's platform client.
    provider: ProviderName,
    /// Where the page begins: the `next_cursor` of the one before.
    #[schemars(length(max = MAX_CURSOR))]
    cursor: Option<String>,
}

/// A managed user to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ManagedUserOrder", example = serde_json::json!({
    "provider": "calcom", "user": "u_42", "email": "mia@example.org", "name": "Mia",
}))]
struct Order {
    /// By which provider's platform client.
    provider: ProviderName,
    /// Whose account it will be.
    user: UserId,
    /// The account's address.
    email: Line,
    /// The account's name.
    name: Line,
    /// IANA name; the provider's default if absent.
    time_zone: Option<Line>,
    /// BCP 47; the provider's default if absent.
    locale: Option<Line>,
}

/// What came of making one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManagedUserMade")]
struct Made {
    /// `created`, `adopted` or `unchanged`.
    #[schemars(extend("enum" = ["created", "adopted", "unchanged"]))]
    outcome: &'static str,
    /// As it is now.
    connection: WholeView,
}

/// A page of managed users; the provider decides how long one is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManagedUserPage")]
struct ManagedPage {
    /// In the order of the list.
    items: Vec<ManagedUserView>,
    /// Where the next page begins; `null` after the last.
    next_cursor: Option<String>,
    /// Whether there may be more, which the provider gives no way to ask for.
    is_cut: bool,
}

/// A managed user.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManagedUser")]
struct ManagedUserView {
    /// The provider's id of the account.
    id: i64,
    /// Its address, as far as the provider tells.
    email: Option<String>,
    /// Its name, as far as the provider tells.
    name: Option<String>,
    /// Its short name, as far as the provider tells.
    username: Option<String>,
    /// Which user of the app has it; `null` if nobody does.
    user: Option<UserId>,
}

/// A managed user that is gone.
#[derive(Serialize, JsonSchema)]
struct Deleted {
    /// Always.
    #[schemars(extend("const" = true))]
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
    Extension(actor): Extension<Actor>,
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
    let audited = Audited::to(Action::CreateManagedUser).about(&key);
    let connect = api.connect.clone();
    let making = async move { Ok(connect.create_managed(&key, &wanted).await?) };
    let tell = |made: &Managed| Some(told(made).1.to_owned());
    let made = api.audited(actor, audited, making, tell).await?;
    let (status, outcome, connection) = told(&made);
    let connection = api.whole(connection).await?;
    let made = Made {
        outcome,
        connection,
    };
    Ok((status, Json(made)))
}

const fn told(made: &Managed) -> (StatusCode, &'static str, &Connection) {
    match made {
        Managed::Created(connection) => (StatusCode::CREATED, "created", connection),
        Managed::Adopted(connection) => (StatusCode::CREATED, "adopted", connection),
        Managed::Unchanged(connection) => (StatusCode::OK, "unchanged", connection),
    }
}

async fn delete(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Key(key): Key,
) -> Result<Json<Deleted>, Trouble> {
    let order = Audited::to(Action::DeleteManagedUser).about(&key);
    let connect = api.connect.clone();
    let deleting = async move {
        if connect.delete_managed(&key).await? {
            Ok(())
        } else {
            Err(Trouble::NotConnected(key))
        }
    };
    api.audited(actor, order, deleting, |()| None).await?;
    Ok(Json(Deleted { deleted: true }))
}
