//! The contract of a store, written once and run against every backend.
//!
//! To add a backend: implement [`bench::Bench`]'s opening for it and instantiate the contract.
//! A guarantee that is not listed in [`contract`] is an unused function, which the compiler reports.
#![cfg_attr(
    test,
    expect(
        clippy::cognitive_complexity,
        reason = "what is counted are assertions, one after the other"
    )
)]

#[cfg(test)]
mod accepting;
#[cfg(test)]
mod accounts;
#[cfg(test)]
mod adopting;
#[cfg(test)]
mod attempts;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod deliveries;
#[cfg(test)]
mod duties;
#[cfg(test)]
mod events;
#[cfg(test)]
mod expiring;
#[cfg(test)]
mod fences;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod meetings;
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
mod replaying;
#[cfg(test)]
mod saving;
#[cfg(test)]
mod seals;

/// Instantiates every guarantee for the backend whose benches `$open` makes: all of them, or those of
/// connections only.
#[cfg(test)]
macro_rules! contract {
    (everything: $backend:ident, $open:path) => {
        mod $backend {
            contract! { @connections $open }
            contract! { @others $open }
        }
    };
    (connections: $backend:ident, $open:path) => {
        mod $backend {
            contract! { @connections $open }
        }
    };
    (@connections $open:path) => {
        contract! { @each (connections) $open,
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
            duties: only_one_of_many_gets_the_duty,
            duties: who_has_the_duty_gets_it_again,
            duties: a_duty_is_free_when_its_time_is_over,
            duties: a_duty_given_back_is_free_at_once,
            duties: duties_of_different_names_are_independent,
            duties: a_clock_that_was_set_back_leaves_no_duty_undone,
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
            grants: what_is_stored_has_the_name_it_was_written_with,
            grants: a_fence_of_another_grant_changes_nothing,
            grants: a_fence_without_a_grant_goes_by_the_generation,
            grants: what_has_no_name_goes_by_the_generation,
            grants: a_store_that_went_back_gives_out_a_generation_but_no_fence_again,
            grants: users_without_tokens_are_fenced_likewise,
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
            lists: the_sweep_gets_the_longest_due_first_and_no_more_than_asked,
            lists: the_sweep_leaves_out_what_cannot_be_renewed_now,
            lists: the_sweep_waits_for_no_cooldown_that_a_clock_set_back_has_made_too_long,
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
    (@others $open:path) => {
        contract! { @each (whole) $open,
            accounts: all_connections_of_an_account_are_found_in_the_order_of_their_keys,
            accounts: a_managed_user_is_found_by_its_number,
            accounts: an_account_is_found_whatever_its_status_until_it_is_removed,
            accounts: a_connection_is_found_by_the_account_that_it_has_now,
            accounts: active_connections_without_an_account_are_listed_page_by_page,
            accounts: a_connection_is_told_its_account_once,
            accounts: an_organization_that_is_not_known_stays_as_it_was,
            accounts: a_managed_user_knows_its_account,
            accounts: another_connection_is_not_told_an_account,
            accounts: work_in_flight_does_not_keep_a_connection_from_its_account,
            accounts: an_account_that_was_told_is_told_of,
            accounts: of_many_who_tell_an_account_one_does,
            expiring: a_record_is_found_by_its_digest_as_often_as_it_is_read,
            expiring: a_record_of_any_bytes_reads_back_as_it_was,
            expiring: purposes_do_not_find_each_others_records,
            expiring: a_record_that_was_taken_is_gone,
            expiring: of_many_who_take_one_record_one_gets_it,
            expiring: a_record_that_has_ended_is_not_there,
            expiring: a_record_without_an_end_stays_until_it_is_taken,
            expiring: what_is_put_again_has_another_content_and_another_end,
            expiring: sweeping_forgets_what_has_ended_and_nothing_else,
            jobs: a_job_is_handed_out_when_it_is_due,
            jobs: a_job_may_have_no_state,
            jobs: jobs_due_longest_come_first_and_no_more_than_asked_for,
            jobs: each_job_is_claimed_by_one_of_many,
            jobs: kinds_of_jobs_do_not_mix,
            jobs: users_and_providers_have_jobs_of_their_own,
            jobs: a_dead_workers_job_is_taken_over_as_far_as_it_is,
            jobs: a_worker_that_has_lost_its_job_changes_nothing,
            jobs: a_worker_that_is_late_still_has_the_job_that_nobody_took_over,
            jobs: writing_how_far_a_job_is_keeps_the_claim,
            jobs: a_finished_job_is_due_again_in_time,
            jobs: a_finished_job_may_wait_for_being_asked_for,
            jobs: asking_again_brings_a_job_forward_and_never_back,
            jobs: a_job_asked_for_while_it_is_worked_on_is_done_once_more,
            jobs: a_job_asked_for_later_while_it_is_worked_on_is_done_then,
            jobs: a_job_asked_for_before_it_was_taken_over_is_done_once_more,
            jobs: replacing_a_job_takes_it_from_its_worker,
            jobs: replacing_a_job_may_put_it_off,
            jobs: of_many_who_ask_for_a_job_all_get_the_same,
            jobs: a_canceled_job_is_gone_whoever_works_on_it,
            jobs: jobs_are_listed_in_the_order_of_their_keys,
            jobs: removing_a_connection_leaves_its_jobs,
            accepting: an_accepted_event_is_handed_out_as_it_came,
            accepting: a_payload_of_any_bytes_reads_back_as_it_was,
            accepting: the_same_event_again_adds_nothing,
            accepting: events_of_other_content_are_others,
            accepting: each_recipient_gets_the_event_once,
            accepting: a_user_of_two_providers_gets_an_event_once,
            accepting: a_known_event_is_delivered_to_whom_it_lacked,
            accepting: of_many_who_accept_one_event_one_makes_it,
            accepting: what_two_processes_accept_keeps_the_order_of_each,
            lines: a_users_deliveries_are_handed_out_in_their_order,
            lines: deliveries_of_all_providers_of_a_user_are_one_line,
            lines: a_failed_delivery_holds_up_its_line_and_no_other,
            lines: lines_due_longest_come_first_and_no_more_than_asked_for,
            lines: a_claimed_line_is_nobody_elses_whatever_joins_it,
            lines: each_line_is_claimed_by_one_of_many,
            lines: a_dead_workers_line_is_taken_over,
            lines: a_worker_that_has_lost_its_line_settles_nothing,
            lines: a_worker_that_is_late_still_has_the_line_that_nobody_took_over,
            lines: holding_a_line_keeps_the_claim,
            lines: a_delivery_is_settled_once_and_only_as_the_first,
            lines: a_delivered_one_makes_room_for_the_next_at_once,
            lines: a_failed_delivery_is_tried_again_in_time,
            lines: a_postponed_delivery_was_not_tried,
            lines: a_dead_letter_lets_the_next_one_pass,
            lines: nothing_is_missed_that_joins_while_the_last_one_is_settled,
            lines: many_workers_deliver_everything_once_and_in_order,
            replaying: a_replayed_delivery_is_the_same_at_the_end_of_its_line,
            replaying: a_replayed_delivery_does_not_overtake_what_waits,
            replaying: replaying_joins_a_line_that_is_being_worked_on,
            replaying: replaying_what_waits_makes_it_due_at_once,
            replaying: replaying_a_later_one_does_not_hasten_the_first,
            replaying: replaying_what_is_being_tried_leaves_it_to_its_worker,
            replaying: of_many_who_replay_a_delivery_all_put_it_in_line_once,
            replaying: what_is_nobodys_or_unknown_is_not_replayed,
            adopting: an_event_that_is_nobodys_is_kept_and_not_handed_out,
            adopting: who_connects_an_account_gets_what_waited_for_it_in_order,
            adopting: an_account_of_another_provider_is_another,
            adopting: adopting_joins_a_line_that_is_being_worked_on,
            adopting: what_comes_again_with_recipients_waits_no_longer,
            adopting: what_comes_again_as_nobodys_waits_for_all_its_accounts,
            adopting: an_adopted_event_that_comes_again_is_known,
            adopting: of_many_who_adopt_an_event_one_gets_it,
            adopting: an_event_adopted_while_it_comes_again_is_delivered_once_to_each,
            adopting: an_event_that_comes_as_nobodys_and_as_somebodys_at_once_is_somebodys,
            adopting: much_that_waits_is_given_whole_and_in_order_while_others_go_on,
            deliveries: deliveries_are_listed_page_by_page_the_newest_first,
            deliveries: deliveries_are_filtered,
            deliveries: a_delivery_is_found_by_its_number_with_what_it_carries,
            deliveries: deliveries_are_counted_by_status,
            deliveries: what_was_delivered_long_ago_is_forgotten,
            deliveries: what_is_dead_or_nobodys_is_forgotten_by_when_it_was_accepted,
            deliveries: what_is_on_its_way_is_never_forgotten,
            deliveries: no_more_is_forgotten_than_asked_for,
            deliveries: a_forgotten_event_is_new_when_it_comes_again,
            deliveries: who_got_an_event_is_known_as_long_as_the_event,
            deliveries: what_comes_again_while_it_is_forgotten_is_delivered,
            deliveries: what_two_processes_forget_together_leaves_nothing_behind,
            meetings: a_meeting_reads_back_as_it_was,
            meetings: the_same_twice_changes_nothing,
            meetings: what_is_newer_stands_in_whichever_order_it_comes,
            meetings: a_late_created_does_not_bring_back_a_canceled_meeting,
            meetings: what_is_over_stands_whatever_its_time,
            meetings: of_two_that_are_over_the_newer_one_stands,
            meetings: a_batch_of_meetings_answers_in_its_order,
            meetings: of_many_who_write_one_meeting_the_newest_stands,
            meetings: users_who_share_a_meeting_have_it_each,
            meetings: meetings_are_listed_by_begin_provider_and_id,
            meetings: meetings_are_filtered_by_provider_and_time,
            meetings: forgetting_a_connections_meetings_leaves_those_of_others,
            meetings: meetings_that_ended_long_ago_are_pruned,
            seals: all_that_is_sealed_is_met_and_nothing_else,
            seals: after_a_turn_everything_opens_with_the_new_key_alone,
            seals: what_was_written_since_it_was_read_stands,
            seals: each_swap_of_a_batch_is_judged_by_itself,
            seals: a_record_that_was_sealed_anew_ends_when_it_would_have,
            seals: what_does_not_open_is_left_as_it_is_and_told,
            seals: a_connection_with_two_keys_is_sealed_anew_as_a_whole,
            seals: sealing_anew_leaves_fences_as_they_were,
            audit: a_record_reads_back_as_it_was_whatever_its_words,
            audit: a_record_that_is_written_again_is_one,
            audit: records_are_listed_page_by_page_the_newest_first,
            audit: records_are_filtered,
            audit: records_of_long_ago_are_forgotten_the_oldest_first,
            audit: few_that_fit_are_found_among_many_that_do_not,
            clocks: a_dead_workers_line_is_taken_over_in_time_though_the_clock_was_set_back,
            clocks: a_line_is_held_on_to_though_the_clock_was_set_back,
            clocks: a_retry_waits_no_longer_when_the_clock_is_set_back,
            clocks: what_came_before_the_clock_was_set_back_is_due_at_once,
            clocks: a_replay_does_not_put_off_what_waits_before_it_when_the_clock_is_set_back,
            clocks: a_dead_workers_job_is_taken_over_in_time_though_the_clock_was_set_back,
            clocks: a_job_waits_no_longer_when_the_clock_is_set_back,
            clocks: a_job_asked_for_while_it_is_worked_on_waits_no_longer_when_the_clock_is_set_back,
        }
    };
    (@each ($part:ident) $open:path, $($room:ident: $guarantee:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $guarantee() {
                let bench = $open();
                super::$room::$guarantee(&bench.$part()).await;
            }
        )+
    };
}

#[cfg(test)]
contract!(everything: sqlite, crate::bench::sqlite);

#[cfg(test)]
contract!(everything: redis, crate::redis_bench::single);

#[cfg(test)]
contract!(everything: redis_cluster, crate::redis_bench::cluster);

#[cfg(test)]
contract!(everything: postgres, crate::bench::postgres);

// Whatever leaves something in its session fails here.
#[cfg(test)]
contract!(everything: pgbouncer, crate::bench::pgbouncer);

// What the tests of the token room run on keeps the same contract, as far as they need it.
#[cfg(test)]
contract!(connections: memory, crate::bench::memory);
