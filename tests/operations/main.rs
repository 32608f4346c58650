//! What operators do, through the binary, on every store that there is: connections from outside,
//! moving to another store, a password that is rotated, looking for what is wrong, and the messages
//! they get when something is. Servers are real.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and its threads are its own"
)]

#[path = "../command_line/binary.rs"]
#[expect(dead_code, reason = "other tests ask more of the binary")]
mod binary;
#[path = "../postgres_trouble/control.rs"]
#[expect(dead_code, reason = "other tests do more to their servers")]
mod control;
#[path = "../command_line/emulators.rs"]
#[expect(dead_code, reason = "other tests ask more of the emulators")]
mod emulators;
#[path = "../store_contract/postgres_server.rs"]
mod postgres_server;
#[path = "../servers/redis.rs"]
mod redis_servers;

mod backups;
mod connections;
mod damage;
mod doctor;
mod documents;
mod following;
mod load;
mod memory;
mod migrating;
mod outages;
mod passwords;
mod places;
mod population;
mod reaching;
mod refusals;
mod rotating;
mod running;
mod standby;
mod tls;
mod trouble;

/// The same test once for each store.
macro_rules! on_every_store {
    ($($test:path as $name:ident,)+) => {
        on_every_store! { @ sqlite, crate::places::sqlite, $($test as $name,)+ }
        on_every_store! { @ postgres, crate::places::postgres, $($test as $name,)+ }
        on_every_store! { @ redis, crate::places::redis, $($test as $name,)+ }
        on_every_store! { @ redis_cluster, crate::places::redis_cluster, $($test as $name,)+ }
    };
    (@ $store:ident, $place:path, $($test:path as $name:ident,)+) => {
        mod $store {
            $(
                #[test]
                fn $name() {
                    $test(&$place());
                }
            )+
        }
    };
}

on_every_store! {
    crate::connections::are_listed_shown_and_renewed_without_their_tokens
        as connections_are_listed_shown_and_renewed_without_their_tokens,
    crate::connections::imported_again_stay_as_they_are
        as connections_imported_again_stay_as_they_are,
    crate::connections::that_are_revoked_are_forgotten_by_a_running_sidecar_too
        as connections_that_are_revoked_are_forgotten_by_a_running_sidecar_too,
    crate::connections::that_are_imported_or_renewed_are_used_by_a_running_sidecar
        as connections_that_are_imported_or_renewed_are_used_by_a_running_sidecar,
}
