//! Lists follow their indexes.

use super::*;
use crate::store::sqlite::{Options, file};

/// How SQLite would go about `sql`, one step a line.
pub(in crate::store::sqlite) fn plan(sql: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let db = file::open_writer(&folder.path().join("db"), &Options::default()).unwrap();
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = statement.parameter_count();
    let nothing = vec![rusqlite::types::Null; count];
    let steps = statement
        .query_map(rusqlite::params_from_iter(nothing), |row| {
            row.get::<_, String>(3)
        })
        .unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sweep_reads_no_connection_that_is_not_due() {
    let plan = plan(DUE);
    for search in [
        "SEARCH connections USING INDEX connections_by_age (provider=? AND renewed_at<?)",
        "SEARCH connections USING INDEX connections_by_end (provider=? AND refresh_expires_at>? AND refresh_expires_at<?)",
    ] {
        assert!(plan.contains(search), "{search} is not in\n{plan}");
    }
    assert!(!plan.contains("SCAN connections"), "{plan}");
}

#[test]
fn the_census_is_counted_in_its_index() {
    let plan = plan(CENSUS);
    assert!(
        plan.contains("USING COVERING INDEX connections_by_health"),
        "{plan}"
    );
}

#[test]
fn every_page_starts_at_its_place() {
    for provider in [None, ProviderName::parse("calcom").ok()] {
        for needs_reauth in [None, Some(true)] {
            let filter = Filter {
                provider: provider.clone(),
                needs_reauth,
            };
            let plan = plan(&page_sql(&filter));
            assert!(plan.contains("SEARCH connections"), "{filter:?}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
    }
}
