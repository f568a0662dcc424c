//! What may fail at which point of a request, what is promised then, by what means, and the test that
//! shows it.
//!
//! The points are numbered W1 to W32. Every statement ends with the tests that make the failure happen and
//! would fail if it were not true, most with real processes that are killed (`SIGKILL`) or frozen
//! (`SIGSTOP`), real sockets, a real Redis, Valkey, Sentinel, Cluster or PostgreSQL. `scripts/test` runs
//! them all but the campaigns on Sentinel and a Cluster, which take a minute each.
//! [How the whole is searched](#how-the-whole-is-searched) says what looks for failures that nobody has
//! thought of.
//!
//! A name begins with the command of its test: `exhaustive` and `simulation` are run by
//! `cargo test --profile proof -p proof`, `interleavings` and `work` by `interleavings/run`, `conformance`
//! and `broken_stores` by `cargo test --all-features --test` with that word, all others by
//! `cargo test --all-features --test it`, which takes a part of a name: `w05` runs the tests that carry
//! that number.
//!
//! The guarantees are those of [`Guarantee`](crate::Guarantee): *at most once* is the default.
//!
//! # Crashes
//!
//! **W1, the server dies before `begin` is sent.**
//! - Nothing has happened, and the retry is the first request: the body is read and hashed before the
//!   store is asked. (`faults::crash::w01_a_crash_before_begin_is_sent_leaves_nothing`)
//!
//! **W2, it dies after `begin`, before the effect.**
//! - At most once, the retry is told `outcome-unknown` once the lease has lapsed: the record stays for
//!   the retention, the lease is only a field in it.
//!   (`faults::crash::w02_a_crash_after_begin_is_unknown_at_most_once`)
//! - At least once, it runs once, later: the next request takes the lapsed claim over.
//!   (`faults::crash::w02_a_crash_after_begin_is_run_once_later_at_least_once`)
//! - Transactional, it runs once, later, however often that happens: the record says from the start that
//!   what is not committed did not happen.
//!   (`transactions::promised::w03_a_server_that_dies_before_the_transaction_has_begun_leaves_nothing_unknown`)
//! - With a hook, the application is asked, once for all servers: the question is a claim of its own.
//!   (`faults::waiting::two_servers_that_meet_an_abandoned_key_ask_once_what_became_of_it`)
//!
//! **W3, it dies after the effect, before `complete`.**
//! - At most once, it never runs twice; the retry is told `outcome-unknown`.
//!   (`faults::crash::w03_a_crash_after_the_effect_never_runs_twice_at_most_once`)
//! - At least once, it runs again: an effect that must not happen twice needs
//!   [a fence token](crate::RunningClaim::fence) or [a derived key](crate::RunningClaim::derived_key).
//!   (`faults::crash::w03_a_crash_after_the_effect_runs_again_at_least_once`)
//! - A handler with `RecoveryPoints`, on PostgreSQL, goes on behind the last phase that was committed,
//!   under every guarantee. What a phase writes is committed with its result, so it happens once; a call
//!   that was under way is made again, with the same key.
//!   (`recovery_points::killed::a_shop_that_is_killed_goes_on_behind_its_last_phase`,
//!   `recovery_points::resume::after_a_crash_between_two_phases_a_retry_goes_on_with_the_second`)
//! - If the answer to such a commit is lost, the record tells what became of it; a worker does not go on
//!   from what it does not tell. (`recovery_points::lost::a_write_that_is_committed_without_an_answer_counts`,
//!   `recovery_points::lost::a_write_of_which_it_is_not_known_whether_it_is_committed_is_not_gone_on_from`)
//! - A worker that was taken over commits no phase: that is fenced by the nonce too.
//!   (`recovery_points::guard::a_worker_that_was_taken_over_saves_nothing_while_the_other_runs`)
//!
//! **W4, it dies after `complete`, before the answer.**
//! - The retry gets the same bytes: the outcome is stored before the first byte is sent.
//!   (`faults::crash::w04_a_crash_after_complete_is_replayed`,
//!   `rules::rivals::no_byte_is_sent_before_the_record_is_stored`)
//!
//! **W14, it is asked to end, or its runtime shuts down.**
//! - What runs is finished and stored before the process ends: everything begun is counted, and
//!   [`Drain`](crate::Drain) waits for it. (`faults::client::w14_a_server_that_is_asked_to_end_finishes_what_runs`)
//! - A rolling restart under load runs every key once.
//!   (`faults::client::w14_a_rolling_restart_under_load_runs_every_key_once`)
//!
//! **W29, the handler panics.**
//! - The panic is caught. At most once, a 500 is stored and replayed; at least once, the key is free and
//!   the retry runs. (`faults::deploy::w29_a_panic_follows_the_guarantee`)
//!
//! # Pauses
//!
//! **W5, the server sleeps past its lease while the handler runs.**
//! - There is one stored answer, and the late worker answers with the winner's: every write to a record
//!   is fenced by the nonce of the claim. (`faults::frozen::w05_a_worker_that_slept_past_its_lease_answers_with_the_winners_answer`)
//! - At most once, nobody has run meanwhile, so the late answer is stored.
//!   (`faults::frozen::w05_a_worker_that_slept_past_its_lease_still_stores_its_answer_at_most_once`)
//! - A handler that merely takes long keeps its claim: a task that does not hang on the request renews it
//!   at a third of the lease. (`rules::lease::rule_22_the_lease_is_renewed_while_the_handler_lives`)
//!
//! **W7, `begin` times out and arrives later.**
//! - It does nothing: it carries a deadline in the store's own time.
//!   (`faults::frozen::w07_a_begin_that_a_frozen_redis_reads_too_late_claims_nothing`)
//! - A frozen Redis gets the answer of what runs when it goes on.
//!   (`faults::frozen::w07_a_redis_that_is_frozen_while_the_handler_runs_gets_the_answer_later`)
//!
//! # Lost messages
//!
//! **W6, the reply to `begin` is lost.**
//! - The repeat recognises its own claim by the nonce, which the caller draws.
//!   (`faults::lost_reply::w06_a_begin_whose_reply_is_lost_recognises_its_own_claim`)
//! - A claim that nobody runs under is cancelled, once no copy of its `begin` can land any more.
//!   (`faults::lost_reply::w06_a_begin_whose_reply_never_comes_is_cancelled`,
//!   `faults::lost_reply::w06_a_refused_attempt_cancels_the_copy_of_its_begin_that_was_lost`)
//! - What the client of a Cluster sends again by itself is carried out once.
//!   (`redis_store::cluster::what_the_client_library_sends_again_is_carried_out_once`)
//!
//! **W8, the reply to `complete` is lost.**
//! - The repeat finds its own outcome, and the client gets its answer.
//!   (`faults::lost_reply::w08_a_complete_whose_reply_is_lost_is_complete`)
//!
//! **W9, `complete` is impossible: the store is down after the effect.**
//! - The client gets the handler's answer, marked `unstored`, and it is stored once the store is back:
//!   storing is tried in the background until the lease would lapse, then once a lease up to
//!   [`max_run`](crate::Policy::max_run).
//!   (`faults::store_down::w09_an_answer_that_cannot_be_stored_is_sent_and_stored_later`)
//! - At least once, it gets 503 once another may have taken over.
//!   (`faults::store_down::w09_at_least_once_refuses_once_the_claim_may_be_lost`)
//!
//! **W13, the client goes away, at any point.**
//! - The handler finishes and its outcome is stored: the work is supervised before `begin` is sent, and
//!   moves to a task when the request is dropped.
//!   (`faults::dropped::w13_a_request_that_is_dropped_at_any_point_is_settled`,
//!   `faults::client::w13_clients_that_hang_up_get_their_answers_with_the_retry`)
//!
//! **W18, the store is cut off, in either direction, or falls silent.**
//! - Before the handler: 503, and the handler does not run; every call has a time limit.
//!   (`faults::store_down::a_redis_that_was_killed_before_begin_refuses_and_recovers_within_a_second`,
//!   `rules::store_failure::rule_28_a_store_that_hangs_is_given_up_on`)
//! - A silent connection is replaced without waiting for the operating system to notice.
//!   (`redis_store::connection::a_silent_connection_is_replaced_however_short_the_time_of_a_call`)
//!
//! # Redis loses something
//!
//! **W10, a fail-over loses a claim.**
//! - Without a durability that is possible, and the answer is put back on the new master when it is
//!   ready. (`failover::server::w10_a_claim_that_only_a_cut_off_master_knew_is_put_back_on_the_new_one`)
//! - With [`Durability::replicas`](crate::store::redis::Durability::replicas) a claim that the replica
//!   lacks does not count: the claims of a moment share one `WAIT` on their own connection.
//!   (`failover::sentinel::w10_of_a_master_that_is_cut_off_only_claims_are_lost_that_did_not_wait_for_its_replica`,
//!   `failover::sentinel::w10_of_a_master_that_is_killed_only_claims_are_lost_that_did_not_wait_for_its_replica`,
//!   `failover::cluster::w10_of_a_cluster_master_that_is_killed_only_claims_are_lost_that_did_not_wait`)
//! - Its key is free again afterwards. (`faults::durable::w10_a_claim_that_the_replica_lacks_is_refused_and_its_key_is_free_afterwards`)
//!
//! **W11, a fail-over loses an answer that was stored.**
//! - At most once, the retry is told `outcome-unknown`, where claims wait for replicas: the new master has
//!   the claim, and nobody runs it again.
//!   (`faults::durable::w11_a_fail_over_that_loses_an_answer_makes_it_unknown_at_most_once`)
//! - At least once, it runs again, with a larger fence token.
//!   (`faults::durable::w11_a_fail_over_that_loses_an_answer_runs_again_with_a_larger_token_at_least_once`)
//!
//! **W12, a server stays with a master that was demoted or cut off.**
//! - It leaves it within two store time-outs: it asks the Sentinels by itself, and a refused write or a
//!   missing acknowledgement makes it ask at once.
//!   (`redis_store::sentinel::w12_a_master_that_is_demoted_is_left`,
//!   `redis_store::sentinel::w12_a_master_that_is_cut_off_is_left_though_it_answers`)
//!
//! **W19, Redis is full.**
//! - New keys are refused, running ones finish, replays work: only `begin` is not allowed to exceed the
//!   memory limit. (`faults::store_down::w19_a_full_redis_refuses_new_keys_and_lets_running_ones_finish`)
//! - A Redis that would evict records is reported by
//!   [`verify`](crate::RedisStore::verify), and refused where that was chosen.
//!   (`redis_store::check::a_redis_that_would_lose_records_is_a_concern_and_refused`)
//!
//! **W20, Redis was emptied.**
//! - It is noticed within seconds by a canary and reported.
//!   (`redis_store::emptied::w20_an_emptied_redis_is_reported_and_used_on`,
//!   `redis_store::emptied::w20_a_restart_without_its_data_is_noticed_and_one_with_it_is_not`)
//! - Where that was chosen, requests are refused until somebody acknowledges it.
//!   (`redis_store::emptied::w20_an_emptied_redis_is_refused_until_that_is_acknowledged_if_so_chosen`)
//!
//! **W21, a server is led to a replica.**
//! - It refuses until that is a master; nothing is ever decided from a replica.
//!   (`redis_store::full::a_replica_is_refused_until_it_is_a_master_again`)
//!
//! **W22, slots of a Cluster move while requests run.**
//! - Nothing is lost and nothing runs twice: each verb is one script on one key, and redirections are
//!   followed. (`failover::cluster::w22_no_claim_is_lost_when_slots_move`,
//!   `redis_store::cluster::slots_that_move_under_load_are_not_noticed`)
//!
//! # Clocks
//!
//! **W15, the clock of a server is wrong, or jumps.**
//! - It decides nothing: whether a lease has lapsed is a question of the store's clock alone.
//!   (`faults::clocks::w15_the_clock_of_a_server_ends_no_lease_and_keeps_none`,
//!   `faults::clocks::w15_the_clock_of_a_server_may_jump_while_a_handler_runs`)
//!
//! **W16, the clock of the store jumps forward.**
//! - Past a lease: at most once, retries are told `outcome-unknown` until the answer is stored; at least
//!   once, a claim is taken over early, and there is one answer.
//!   (`faults::clocks::w16_a_store_whose_clock_jumps_past_a_lease_is_unknown_and_keeps_the_answer_at_most_once`,
//!   `faults::clocks::w16_a_store_whose_clock_jumps_past_a_lease_has_one_answer_at_least_once`)
//! - Past the retention: what was stored is forgotten; what runs still has
//!   its key, since its next renewal puts the record back.
//!   (`faults::clocks::w16_a_store_whose_clock_jumps_past_the_retention_forgets_but_stores_what_still_runs`)
//!
//! **W17, the clock of the store jumps back.**
//! - Nothing is lost, and the lease of who has died lasts until the clock has caught up.
//!   (`faults::clocks::w17_a_store_whose_clock_jumps_back_keeps_leases_for_longer_and_loses_nothing`)
//! - Fence tokens of a key grow all the same: a token is larger than the one before, and no less than the
//!   time. (`faults::clocks::w17_tokens_of_a_key_grow_although_the_clock_of_the_store_jumps_back`)
//!
//! # On PostgreSQL
//!
//! W1 to W4 and W6 to W9 end as above. (`faults::postgres::w01_a_crash_before_begin_is_sent_leaves_nothing`,
//! `faults::postgres::w02_a_crash_after_begin_is_unknown_at_most_once_and_run_later_at_least_once`,
//! `faults::postgres::w03_a_crash_after_the_effect_never_runs_twice_at_most_once_and_again_at_least_once`,
//! `faults::postgres::w04_a_crash_after_complete_is_replayed`,
//! `faults::postgres::w06_a_begin_whose_reply_is_lost_recognises_its_own_claim`,
//! `faults::postgres::w07_a_begin_that_a_frozen_postgres_reads_too_late_claims_nothing`,
//! `faults::postgres::w08_a_complete_whose_reply_is_lost_is_complete`,
//! `faults::postgres::w09_an_answer_that_a_frozen_or_killed_postgres_cannot_take_is_stored_later`)
//!
//! **W12, W21, a fail-over.**
//! - The store follows it, and a replica decides nothing. Claims that the new primary had not received are
//!   lost, unless commits wait for a replica (`synchronous_standby_names`): that is not tested.
//!   (`postgres_store::outages::w12_a_store_follows_a_fail_over`,
//!   `postgres_store::outages::w21_a_replica_decides_nothing`)
//!
//! **W23, the database's default is `SERIALIZABLE`.**
//! - No claim fails for it: the store sets its own isolation level.
//!   (`postgres_store::statements::w23_claims_fail_nobody_where_the_default_is_serializable`,
//!   `postgres_store::pooler::w23_claims_pass_a_pooler_where_the_default_is_serializable`)
//!
//! **W24, two claims of one key meet.**
//! - One of them starts. The other, which looked before that was committed and found nothing, looks again
//!   and is told that the first one runs.
//!   (`postgres_store::races::w24_a_claim_that_finds_nothing_and_comes_second_looks_again`)
//!
//! **W25, the commit of a handler's transaction, or its acknowledgement, is lost.**
//! - The client is told what became of it, or gets a 503 and may repeat; a charge has one row and one
//!   answer.
//!   (`faults::storm::w25_a_storm_in_transactions_leaves_one_row_one_outcome_and_one_answer_a_key`,
//!   `postgres_store::races::w25_a_release_that_waits_for_the_commit_of_a_lapsed_claim_finds_its_outcome`)
//! - Nothing is said before that is certain: the claim is released first, and a commit that arrives after
//!   that fails. (`transactions::commits::w25_a_commit_whose_answer_is_lost_is_told_as_what_it_is`,
//!   `transactions::commits::w25_a_commit_that_never_arrives_can_never_happen`)
//! - What a crashed worker (W3) wrote is gone with it, and a retry runs, at most once too.
//!   (`transactions::workers::w03_what_a_crashed_worker_wrote_is_gone_and_a_retry_runs_at_most_once_too`)
//! - A worker that slept past its lease (W5) is rolled back and answers as the winner, also where it hears
//!   nothing of its commit: the commit compares nonce and fence.
//!   (`transactions::workers::w05_a_stale_worker_is_rolled_back_and_answers_as_the_winner`,
//!   `transactions::commits::w25_a_stale_worker_that_hears_nothing_of_its_commit_answers_as_the_winner`)
//! - At most once, a claim whose transaction had not begun is unknown, and has no row.
//!   (`faults::storm::w25_a_storm_in_transactions_at_most_once_leaves_no_row_of_what_is_unknown`)
//!
//! **W26, there are more claims than connections.**
//! - They are refused; running work is renewed and stored on connections of its own.
//!   (`postgres_store::pools::w26_a_storm_of_claims_keeps_no_running_work_from_its_renewal_and_its_end`)
//!
//! **W31, a purge meets a claim.**
//! - A claim of a slot whose record has expired starts, whether the purge deletes that record before it or
//!   after, and no purge deletes the claim.
//!   (`postgres_store::purge::w31_claims_of_expired_slots_and_a_purge_meet_and_none_is_lost`)
//!
//! # Crowds and deployments
//!
//! **W26, new claims hold the connection that they wait on.**
//! - They are refused, and what runs is renewed and stored meanwhile: on a connection that no claim
//!   uses. (`faults::exhausted::w26_claims_that_wait_for_a_replica_do_not_hold_up_who_runs`,
//!   `redis_store::connection::w26_a_storm_of_claims_keeps_no_running_work_from_its_renewal_and_its_end`,
//!   `redis_store::connection::w26_a_storm_of_claims_that_wait_for_a_replica_keeps_no_running_work_from_its_end`)
//!
//! **W27, a crowd retries one key, on several servers, and the first of them dies or freezes.**
//! - There is one run and one answer, and at most one of a process asks the store.
//!   (`faults::waiting::w27_two_hundred_who_wait_on_two_servers_get_one_answer`,
//!   `faults::waiting::w27_five_hundred_who_wait_on_two_servers_cost_redis_a_handful_of_commands`)
//! - Those who wait for a server that dies are told, or one of them takes over.
//!   (`faults::waiting::w27_those_who_wait_for_a_server_that_is_killed_are_told_or_take_over`,
//!   `faults::waiting::w27_who_waits_while_a_server_is_frozen_gets_its_answer_when_it_goes_on`)
//!
//! **W28, a response is too large, a stream, or breaks off.**
//! - A tombstone is stored before the first byte is sent; a retry is told so and never runs it again.
//!   (`faults::deploy::w28_a_response_that_is_too_large_is_never_run_again`,
//!   `rules::large::rule_29_the_tombstone_is_stored_before_the_first_byte_is_sent`)
//! - A body that breaks off is ambiguous, and the guarantee decides.
//!   (`faults::deploy::w28_a_body_that_breaks_off_follows_the_guarantee`)
//!
//! **W30, the retention ends while the handler runs.**
//! - It cannot: renewal extends the record, and a retention of less than two leases is refused when the
//!   layer is built. (`faults::deploy::w30_a_run_longer_than_the_retention_keeps_its_record`,
//!   `faults::deploy::w30_a_retention_that_could_end_during_a_run_is_refused`)
//!
//! **W32, servers with other fingerprints or other leases share a store.**
//! - They recognise each other's requests: a record says by which scheme its request was hashed.
//!   (`faults::deploy::w32_servers_that_fingerprint_differently_recognise_each_others_requests`)
//! - A shorter lease does not steal: the record holds the lease of its claim.
//!   (`faults::deploy::w32_a_server_with_a_shorter_lease_does_not_steal`)
//!
//! # What no layer can promise
//!
//! - An effect outside of the store's own transaction is not exactly once: after a crash it is unknown
//!   or repeated. (`faults::crash::w02_a_crash_after_begin_is_unknown_at_most_once`,
//!   `faults::crash::w03_a_crash_after_the_effect_runs_again_at_least_once`)
//! - At least once, a worker that is taken over may still be having its effects: only a database that
//!   refuses its older fence token stops them.
//!   (`faults::frozen::a_worker_that_is_taken_over_is_told_that_the_winner_still_runs`)
//! - With the retention a key ends, and is new. (`rules::lease::rule_25_a_record_expires_from_its_completion_and_is_not_extended_by_replays`)
//! - A store that was not told to wait for replicas loses with its master what no replica has.
//!   (`failover::sentinel::w10_of_a_master_that_is_cut_off_only_claims_are_lost_that_did_not_wait_for_its_replica`)
//! - A claim can stand that nobody runs under: where the store loses a record while the last renewal of
//!   its worker, sent less than a store time-out before, is under way, and where the client of a Cluster has
//!   sent a `begin` twice without saying so and the first copy is late. No handler runs for it. Its key is `in-progress` for up to a lease;
//!   then, at least once, the next request runs, and at most once it is `outcome-unknown`.
//!   (`exhaustive::variants::at_most_once_and_expiry`,
//!   `exhaustive::variants::at_most_once_and_hidden_copies`)
//! - The memory store forgets everything with its process; so does a Redis without persistence.
//!   (`redis_store::emptied::w20_a_restart_without_its_data_is_noticed_and_one_with_it_is_not`)
//!
//! # How the whole is searched
//!
//! The tests above were written for failures that somebody has thought of. These look for the others,
//! and are shown to find what they are meant to find. What a stranger can send (keys, stored bytes,
//! headers, JSON) is fuzzed besides, by `scripts/fuzz`.
//!
//! - The store contract is a suite of cases that runs on every store and through every decorator.
//!   (`conformance::begin::a_free_slot_is_claimed`)
//! - Every order in which a few attempts, their messages and the faults of one class can meet is
//!   searched to the end, over the same function that the stores carry out.
//!   (`exhaustive::variants::at_most_once_and_crashes`,
//!   `exhaustive::liveness::once_faults_stop_every_key_comes_to_rest`)
//! - So is a handler that commits with its outcome, however late or lost its mark and its commit are: there
//!   is one row of the outcome that is stored, and none where none is.
//!   (`exhaustive::variants::in_transactions_at_most_once`,
//!   `exhaustive::defects::a_blind_commit_leaves_two_rows`)
//! - A mistake in the protocol is found by that search, with a shortest way to it.
//!   (`exhaustive::defects::without_deadline_and_cancel_a_claim_is_left`,
//!   `exhaustive::defects::unfenced_writes_change_what_is_stored`)
//! - The engine and the layer run in a simulation in which a number decides everything that goes wrong.
//!   (`simulation::many_seeds::every_invariant_holds_for_as_many_seeds_as_fit_in_the_time`)
//! - Bugs that stores and layers have had are found by the simulation when they are put back.
//!   (`simulation::known_bugs::bugs_that_stores_and_layers_have_had_are_found`)
//! - A store with one thing wrong fails a case of the contract that is named for it.
//!   (`broken_stores::main::each_fault_fails_the_cases_that_are_named_for_it`)
//! - What concurrent clients of a real store saw can be put into an order in which the contract says the
//!   same, with every call of unknown effect anywhere or nowhere. (`linearizability::concurrent_histories_agree_with_the_contract`,
//!   `linearizability::histories_with_broken_connections_agree_with_the_contract_on_redis`)
//! - Three servers on one store keep their promises while they, the store and their connections are
//!   killed, frozen and cut, as a ledger outside of them says. (`campaign::a_campaign_at_most_once_on_redis_breaks_no_promise`,
//!   `campaign::a_campaign_at_least_once_on_valkey_breaks_no_promise`,
//!   `campaign::a_campaign_at_most_once_on_postgres_breaks_no_promise`,
//!   `campaign::a_campaign_at_most_once_on_sentinel_breaks_no_promise`,
//!   `campaign::a_campaign_at_most_once_on_a_cluster_breaks_no_promise`)
//! - The memory store and the hand-over of dropped work are right in every order of their threads that a
//!   scheduler has tried. (`interleavings::who_watches_misses_no_change_and_leaves_nothing_behind`,
//!   `work::supervised_work_ends_wherever_it_is_dropped_and_the_drain_ends_with_it`)
