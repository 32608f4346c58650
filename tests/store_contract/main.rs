//! The contract of a store, written once and run against every backend.
//!
//! To add a backend: implement [`bench::Bench`]'s opening for it and instantiate the contract.
//! A guarantee that is not listed in [`contract`] is an unused function, which the compiler reports.

#[cfg(test)]
mod attempts;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod fences;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod lists;
#[cfg(test)]
#[path = "../renewing/memory_store.rs"]
#[expect(dead_code, reason = "other tests break what is tried here whole")]
mod memory_store;
#[cfg(test)]
mod postgres_server;
#[cfg(test)]
mod redis_bench;
#[cfg(test)]
#[path = "../servers/redis.rs"]
#[expect(dead_code, reason = "other tests do more to their servers")]
mod redis_servers;
#[cfg(test)]
mod saving;

/// Instantiates every guarantee for the backend whose benches `$open` makes.
#[cfg(test)]
macro_rules! contract {
    ($backend:ident, $open:path) => {
        contract! { $backend, $open,
            saving: a_saved_connection_reads_back_as_it_was,
            saving: a_key_that_was_never_saved_is_absent,
            saving: a_managed_user_without_tokens_starts_at_generation_zero,
            saving: replacing_keeps_the_identity_and_raises_the_generation,
            saving: a_reconnect_clears_cooldown_intent_and_mark,
            saving: a_reconnect_keeps_the_lease,
            saving: the_same_import_twice_does_not_bring_back_rotated_tokens,
            saving: the_same_managed_user_imported_again_keeps_its_tokens,
            saving: another_import_replaces,
            saving: without_a_fingerprint_every_save_replaces,
            saving: a_batch_answers_in_its_order,
            saving: a_key_twice_in_one_batch_is_saved_twice,
            saving: of_many_who_create_one_connection_one_creates_it,
            saving: a_removed_connection_is_gone_and_was_returned,
            saving: a_connection_made_anew_is_another,
            saving: users_that_look_alike_are_apart,
            leases: only_one_of_many_gets_the_lease,
            leases: the_holder_gets_its_lease_again,
            leases: a_lease_ends_by_itself,
            leases: a_lease_that_ended_is_neither_prolonged_nor_given_back,
            leases: the_loser_of_an_expired_lease_cannot_release_the_winners,
            leases: a_prolonged_lease_outlives_its_first_end,
            leases: a_lease_given_back_is_free_at_once,
            leases: there_is_no_lease_without_a_connection,
            leases: removal_ends_the_lease,
            leases: the_connection_is_read_under_the_lease,
            leases: leases_of_different_connections_are_independent,
            leases: a_clock_that_was_set_back_does_not_lock_everybody_out,
            fences: what_was_committed_is_what_the_next_renewal_reads,
            fences: of_many_commits_from_one_generation_one_is_stored,
            fences: a_commit_from_an_old_generation_changes_nothing,
            fences: a_commit_needs_no_lease,
            fences: a_commit_wins_over_a_mark_on_its_generation,
            fences: a_reconnect_during_a_renewal_wins,
            fences: a_connection_removed_during_its_renewal_stays_removed,
            fences: a_commit_for_a_removed_connection_spares_its_successor,
            fences: what_the_provider_did_not_name_stays,
            fences: a_forced_renewal_is_remembered,
            fences: a_mark_is_set_once,
            fences: a_mark_from_an_old_generation_is_refused,
            attempts: an_attempt_is_recorded_under_the_lease,
            attempts: without_the_lease_no_attempt_is_recorded,
            attempts: with_a_lease_that_ended_no_attempt_is_recorded,
            attempts: from_an_old_generation_no_attempt_is_recorded,
            attempts: attempts_at_one_generation_are_counted,
            attempts: an_attempt_that_spent_nothing_is_taken_back,
            attempts: an_attempt_that_may_have_spent_stays,
            attempts: taking_back_an_attempt_leaves_the_older_one,
            attempts: a_failure_without_an_attempt_cools_down_only,
            attempts: a_failure_from_an_old_generation_is_refused,
            attempts: a_commit_clears_attempts_and_cooldown,
            lists: pages_follow_each_other_in_the_order_of_keys,
            lists: pages_are_filtered,
            lists: the_sweep_gets_the_oldest_first_and_no_more_than_asked,
            lists: the_sweep_leaves_out_what_cannot_be_renewed_now,
            lists: the_sweep_includes_refresh_tokens_near_their_end,
            lists: the_census_counts_by_provider_and_health,
            lists: an_empty_store_lists_nothing,
            lists: a_store_that_works_passes_its_check,
            changes: the_first_question_answers_at_once_with_a_cursor,
            changes: every_write_that_others_must_know_of_is_told,
            changes: writes_that_changed_nothing_are_not_told,
            changes: another_handle_on_the_same_store_is_told,
            changes: a_waiting_question_is_answered_by_the_next_write,
            changes: waiting_ends_with_nothing,
            changes: who_missed_too_much_is_told_so,
            changes: a_cursor_from_elsewhere_means_anything_may_have_changed,
            copies: a_copy_reads_back_as_it_was,
            copies: copies_follow_each_other_in_the_order_of_keys,
            copies: a_copy_replaces_what_is_older,
            copies: a_copy_never_replaces_what_is_newer,
            copies: a_copy_spares_another_connection_with_its_key,
            copies: each_copy_of_a_batch_has_its_own_outcome_in_its_order,
            copies: a_copy_is_told_to_others_if_it_is_written,
            copies: a_copy_keeps_the_lease_and_shows_it,
            copies: a_copy_goes_on_from_where_it_was,
            copies: a_copy_is_listed_counted_and_swept_like_any_other,
            copies: every_check_is_felt_in_the_pulse,
        }
    };
    ($backend:ident, $open:path, $($room:ident: $guarantee:ident,)+) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $guarantee() {
                    super::$room::$guarantee(&$open()).await;
                }
            )+
        }
    };
}

#[cfg(test)]
contract!(sqlite, crate::bench::sqlite);

#[cfg(test)]
contract!(redis, crate::redis_bench::single);

#[cfg(test)]
contract!(redis_cluster, crate::redis_bench::cluster);

#[cfg(test)]
contract!(postgres, crate::bench::postgres);

// Whatever leaves something in its session fails here.
#[cfg(test)]
contract!(pgbouncer, crate::bench::pgbouncer);

// What the tests of the token room run on keeps the same contract.
#[cfg(test)]
contract!(memory, crate::bench::memory);
