//! Opening: may this user do all of it, is the store one that this version knows.
//!
//! A version that older ones must not work beside raises the schema in every bucket (the field `schema`
//! of its census) and every section (its key `schema`), then for all, and only then changes anything:
//! whoever is older writes nothing from the first on, reads nothing from the second on, and says so.

use super::{accounts, desk::Desk, failure::Failure, scripts};

/// Raised when keys or rows change in a way that older versions would misread. What is only added, and
/// found and mended where older versions leave it out, does not raise it ([`accounts`]).
pub(super) const SCHEMA: u32 = 1;

/// Makes the store if there is none. A newer one is left alone.
pub(super) async fn open(desk: &Desk) -> Result<(), Failure> {
    if !desk.is_cluster() {
        // A node of a cluster refuses to look at several slots at once: found now, and not by the
        // first connection that lies elsewhere.
        let mut everywhere = redis::cmd("EXISTS");
        everywhere.arg(desk.keys.each("probe"));
        let _none: u64 = desk.command(&everywhere).await?;
    }
    let found = if desk.options.existing_only {
        let schema = desk.keys.single("schema");
        let found: Option<u32> = desk.command(redis::cmd("GET").arg(schema)).await?;
        found.ok_or(Failure::Nothing)?
    } else {
        make(desk).await?
    };
    desk.admits(found)?;
    let trial = hex::encode(desk.random.bytes::<8>());
    let mut rehearsal = scripts::REHEARSE.prepare_invoke();
    rehearsal.key(desk.keys.single(&format!("trial-{trial}")));
    let () = desk.ask(&rehearsal).await?;
    accounts::index_all(desk).await
}

/// Makes what is missing of the store; the schema that is there.
pub(super) async fn make(desk: &Desk) -> Result<u32, Failure> {
    let mut opening = scripts::OPEN.prepare_invoke();
    for key in ["schema", "log", "accounts", "mended"] {
        opening.key(desk.keys.single(key));
    }
    opening.arg(SCHEMA);
    desk.ask(&opening).await
}
