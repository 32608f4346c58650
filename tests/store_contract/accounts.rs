//! From an account to its connections, and connections that learn whose account they are.

use std::time::Duration;

use daypass::{
    base::clock::Clock as _,
    base::ids::{ConnectionId, ConnectionKey, ProviderName},
    store::{Connection, Everything, Fence, Fenced, ReauthReason, Renewed},
};
use futures_util::future::join_all;

use crate::bench::{Bench, START, calendly, fresh, key, new, owner, renewed};

const ANNAS: &str = "https://api.calendly.com/users/ANNA";

const ORGANIZATION: &str = "https://api.calendly.com/organizations/O1";

type Whole = Bench<dyn Everything>;

fn provider(name: &str) -> ProviderName {
    ProviderName::parse(name).unwrap()
}

/// Saves a connection of the account `external_id`, or the managed user `managed`, or neither.
async fn save(
    bench: &Whole,
    key: &ConnectionKey,
    external_id: Option<&str>,
    managed: Option<i64>,
) -> Connection {
    let mut asked = new(key, "first");
    asked.external_id = external_id.map(str::to_owned);
    asked.managed_user_id = managed;
    bench.connections().save(asked).await
}

/// Whose `account` is, as another process sees it.
async fn users_of(bench: &Whole, at: &str, account: &str) -> Vec<String> {
    let found = bench.other.of_account(&provider(at), account).await;
    let found = found.unwrap();
    found.iter().map(|c| c.key.to_string()).collect()
}

async fn mark(bench: &Whole, connection: &Connection) {
    let marked = bench
        .store
        .mark_needs_reauth(&Fence::of(connection), ReauthReason::GrantRefused, START)
        .await;
    assert_eq!(marked.unwrap(), Fenced::Written);
}

pub(crate) async fn all_connections_of_an_account_are_found_in_the_order_of_their_keys(
    bench: &Whole,
) {
    for user in ["ben", "anna", "Zoe"] {
        save(bench, &calendly(user), Some(ANNAS), None).await;
    }
    save(bench, &calendly("carl"), Some("https://other"), None).await;
    save(bench, &key("calendly-eu", "anna"), Some(ANNAS), None).await;
    save(bench, &calendly("nobody"), None, None).await;
    assert_eq!(
        users_of(bench, "calendly", ANNAS).await,
        ["calendly/Zoe", "calendly/anna", "calendly/ben"]
    );
    assert_eq!(
        users_of(bench, "calendly-eu", ANNAS).await,
        ["calendly-eu/anna"]
    );
    let found = bench.store.of_account(&provider("calendly"), ANNAS).await;
    let anna = bench.connections().read(&calendly("anna")).await;
    assert_eq!(found.unwrap()[1], anna);
    for stranger in ["", "https://api.calendly.com/users/anna", "%", "https://o"] {
        let found = users_of(bench, "calendly", stranger).await;
        assert!(found.is_empty(), "{stranger}: {found:?}");
    }
}

pub(crate) async fn a_managed_user_is_found_by_its_number(bench: &Whole) {
    let calcom = |user| key("calcom", user);
    save(bench, &calcom("managed"), None, Some(42)).await;
    save(bench, &calcom("below-zero"), None, Some(-42)).await;
    save(bench, &calcom("named"), Some("42"), None).await;
    save(bench, &calcom("both"), Some("42"), Some(42)).await;
    save(bench, &calcom("other"), Some("other"), Some(43)).await;
    assert_eq!(
        users_of(bench, "calcom", "42").await,
        ["calcom/both", "calcom/managed", "calcom/named"]
    );
    assert_eq!(
        users_of(bench, "calcom", "-42").await,
        ["calcom/below-zero"]
    );
    assert_eq!(users_of(bench, "calcom", "other").await, ["calcom/other"]);
    assert_eq!(users_of(bench, "calcom", "43").await, ["calcom/other"]);
    for stranger in [
        "042",
        "+42",
        " 42",
        "42 ",
        "4",
        "42.0",
        "99999999999999999999",
    ] {
        let found = users_of(bench, "calcom", stranger).await;
        assert!(found.is_empty(), "{stranger}: {found:?}");
    }
}

pub(crate) async fn an_account_is_found_whatever_its_status_until_it_is_removed(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), Some(ANNAS), None).await;
    mark(bench, &anna).await;
    assert_eq!(users_of(bench, "calendly", ANNAS).await, ["calendly/anna"]);
    bench.store.remove(&anna.key).await.unwrap();
    assert!(users_of(bench, "calendly", ANNAS).await.is_empty());
}

pub(crate) async fn a_connection_is_found_by_the_account_that_it_has_now(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), Some("first"), None).await;
    let renewal = Renewed {
        external_id: Some("second".to_owned()),
        ..renewed("t")
    };
    bench
        .store
        .commit(&Fence::of(&anna), renewal)
        .await
        .unwrap();
    assert!(users_of(bench, "calendly", "first").await.is_empty());
    assert_eq!(
        users_of(bench, "calendly", "second").await,
        ["calendly/anna"]
    );
    save(bench, &anna.key, Some("third"), Some(7)).await;
    assert!(users_of(bench, "calendly", "second").await.is_empty());
    assert_eq!(
        users_of(bench, "calendly", "third").await,
        ["calendly/anna"]
    );
    assert_eq!(users_of(bench, "calendly", "7").await, ["calendly/anna"]);
    save(bench, &anna.key, None, None).await;
    assert!(users_of(bench, "calendly", "third").await.is_empty());
    assert!(users_of(bench, "calendly", "7").await.is_empty());
}

pub(crate) async fn active_connections_without_an_account_are_listed_page_by_page(bench: &Whole) {
    for user in ["d", "B", "a", "c"] {
        save(bench, &calendly(user), None, None).await;
    }
    save(bench, &calendly("known"), Some(ANNAS), None).await;
    save(bench, &calendly("managed"), None, Some(1)).await;
    save(bench, &key("calcom", "a"), None, None).await;
    let broken = save(bench, &calendly("broken"), None, None).await;
    mark(bench, &broken).await;
    let mut seen: Vec<ConnectionKey> = Vec::new();
    loop {
        let page = bench
            .other
            .unidentified(&provider("calendly"), seen.last(), 2)
            .await
            .unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|connection| connection.key));
    }
    assert_eq!(seen, ["B", "a", "c", "d"].map(calendly));
    let place = key("calcom", "z");
    let at = provider("calendly");
    let all = bench.store.unidentified(&at, Some(&place), 9).await;
    assert_eq!(all.unwrap().len(), 4, "places are in the order of keys");
    let none = bench.store.unidentified(&at, None, 0).await;
    assert!(none.unwrap().is_empty());
}

pub(crate) async fn a_connection_is_told_its_account_once(bench: &Whole) {
    let mut asked = new(&calendly("anna"), "first");
    (asked.external_id, asked.organization) = (None, None);
    let anna = bench.connections().save(asked).await;
    bench.clock.advance(Duration::from_secs(1));
    let told = bench
        .store
        .identify(&anna.key, anna.id, ANNAS, Some(ORGANIZATION))
        .await;
    assert_eq!(told.unwrap(), Fenced::Written);
    let after = bench.connections().read(&anna.key).await;
    let expected = Connection {
        external_id: Some(ANNAS.to_owned()),
        organization: Some(ORGANIZATION.to_owned()),
        updated_at: bench.clock.now(),
        ..anna.clone()
    };
    assert_eq!(after, expected);
    assert_eq!(users_of(bench, "calendly", ANNAS).await, ["calendly/anna"]);
    let left = bench
        .other
        .unidentified(&provider("calendly"), None, 9)
        .await;
    assert!(left.unwrap().is_empty());
    for again in [ANNAS, "https://another"] {
        let told = bench
            .other
            .identify(&anna.key, anna.id, again, Some("https://another"))
            .await;
        assert_eq!(told.unwrap(), Fenced::Unchanged);
    }
    assert_eq!(bench.connections().read(&anna.key).await, expected);
}

pub(crate) async fn an_organization_that_is_not_known_stays_as_it_was(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), None, None).await;
    let organization = anna.organization.clone();
    assert!(organization.is_some());
    let told = bench.store.identify(&anna.key, anna.id, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Written);
    let after = bench.connections().read(&anna.key).await;
    assert_eq!(after.organization, organization);
}

pub(crate) async fn a_managed_user_knows_its_account(bench: &Whole) {
    let managed = save(bench, &key("calcom", "anna"), None, Some(42)).await;
    let told = bench.store.identify(&managed.key, managed.id, "42", None);
    assert_eq!(told.await.unwrap(), Fenced::Unchanged);
    assert_eq!(bench.connections().read(&managed.key).await, managed);
}

pub(crate) async fn another_connection_is_not_told_an_account(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), None, None).await;
    let stranger = ConnectionId::random(&fresh());
    let told = bench.store.identify(&anna.key, stranger, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Refused);
    assert_eq!(bench.connections().read(&anna.key).await, anna);
    bench.store.remove(&anna.key).await.unwrap();
    let told = bench.store.identify(&anna.key, anna.id, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Refused);
    let successor = save(bench, &anna.key, None, None).await;
    let told = bench.store.identify(&anna.key, anna.id, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Refused);
    assert_eq!(bench.connections().read(&anna.key).await, successor);
}

pub(crate) async fn work_in_flight_does_not_keep_a_connection_from_its_account(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), None, None).await;
    bench.connections().lease(&anna.key, owner()).await;
    bench
        .store
        .commit(&Fence::of(&anna), renewed("t"))
        .await
        .unwrap();
    let told = bench.store.identify(&anna.key, anna.id, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Written);
    let after = bench.connections().read(&anna.key).await;
    assert_eq!(after.generation, anna.generation.next());
}

pub(crate) async fn an_account_that_was_told_is_told_of(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), None, None).await;
    let start = bench.other.changes(None, Duration::ZERO).await.unwrap();
    let told = bench.store.identify(&anna.key, anna.id, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Written);
    let long = Duration::from_secs(20);
    let changes = bench.other.changes(Some(start.cursor), long).await.unwrap();
    assert_eq!(changes.keys, Some(vec![anna.key.clone()]));
    let told = bench.store.identify(&anna.key, anna.id, ANNAS, None).await;
    assert_eq!(told.unwrap(), Fenced::Unchanged);
    let quiet = bench.other.changes(Some(changes.cursor), Duration::ZERO);
    assert_eq!(quiet.await.unwrap().keys, Some(Vec::new()));
}

pub(crate) async fn of_many_who_tell_an_account_one_does(bench: &Whole) {
    let anna = save(bench, &calendly("anna"), None, None).await;
    let told = join_all((0..20).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        let account = format!("account {n}");
        let told = store.identify(&anna.key, anna.id, &account, None).await;
        (account, told.unwrap())
    }))
    .await;
    let done: Vec<_> = told.iter().filter(|(_, t)| *t == Fenced::Written).collect();
    assert_eq!(done.len(), 1, "{told:?}");
    let after = bench.connections().read(&anna.key).await;
    assert_eq!(after.external_id.as_ref(), Some(&done[0].0));
}
