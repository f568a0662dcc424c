//! What can be wrong with a store, one thing each, and which case must notice.

faults! {
    /// It looks, and then writes, and others come between.
    ChecksThenActs: "race::of_fifty_concurrent_requests_one_starts"
        "race::of_two_threads_that_begin_at_once_one_starts"
        "race::of_fifty_concurrent_take_overs_one_succeeds" "race::of_an_outcome_and_a_take_over_one_wins"
        "race::of_a_resolution_and_a_take_over_one_wins"
        "race::of_fifty_concurrent_requests_after_a_release_one_starts";
    /// It keeps less of the address than there is, and returns another tenant's record.
    ForgetsTheEndOfTheSlot: "look::slots_that_differ_in_one_bit_do_not_mix"
        "look::a_neighbour_is_not_touched";
    /// The same at the beginning.
    ForgetsTheBeginningOfTheSlot: "look::slots_that_differ_in_one_bit_do_not_mix"
        "race::of_fifty_slots_at_once_none_gets_what_is_anothers";
    /// A lease never ends.
    NeverLapses: "begin::a_lapsed_lease_is_taken_over_at_least_once"
        "resolve::an_abandoned_claim_can_be_given_an_outcome";
    /// A record never ends.
    NeverExpires: "begin::a_completed_record_expires" "begin::a_tombstone_ends"
        "release::what_was_released_expires" "look::what_has_expired_is_not_seen";
    /// Only an outcome ends.
    KeepsTheUnfinishedForEver: "begin::an_unfinished_record_expires";
    /// The lease is the store's expiry: what has lapsed is forgotten.
    ForgetsAtTheEndOfTheLease: "begin::a_lapsed_lease_stays_unknown_at_most_once"
        "look::an_abandoned_claim_is_seen";
    /// A begin that is sent again meets its own claim.
    IsBusyForItself: "begin::a_second_copy_of_a_begin_gets_the_same_claim"
        "race::of_fifty_copies_of_one_begin_all_have_the_same_claim";
    /// A begin that is sent again is a renewal.
    ExtendsTheRepeatedBegin: "begin::a_second_copy_of_a_begin_extends_nothing";
    /// A begin that is sent again gets another fence.
    FencesTheRepeatedBegin: "begin::a_second_copy_of_a_begin_gets_the_same_claim";
    /// A begin that is sent again takes over from itself.
    TakesOverFromItself: "begin::a_second_copy_of_a_begin_gets_the_same_claim_even_after_the_lease";
    /// Its own claim under another fingerprint is another's.
    AsksForMoreThanTheNonce: "begin::a_nonce_counts_more_than_a_fingerprint";
    /// What an attempt gave up it gets again.
    StartsAgainAfterItsRelease: "begin::a_begin_that_arrives_after_its_own_release_is_cancelled";
    /// What was released is still of its request.
    KeepsTheReleasedForItsRequest: "begin::a_released_slot_is_free_for_another_request_too";
    /// Another request gets the outcome.
    ReplaysAMismatch: "begin::a_completed_record_answers_every_retry";
    /// Another request takes an abandoned claim over.
    TakesOverAMismatch: "begin::another_request_is_a_mismatch_even_after_the_lease"
        "takeover::a_claim_that_is_named_is_not_taken_over_by_another_request";
    /// Another request is told that its own is running.
    IsBusyForAMismatch: "begin::another_request_under_the_key_is_a_mismatch";
    /// A fingerprint of another scheme is another request.
    TakesASchemeForAMismatch: "begin::a_request_of_another_scheme_is_told_so";
    /// It forgets which headers were fingerprinted.
    ForgetsTheHeadersOfAScheme: "begin::a_scheme_with_headers_is_told_with_its_headers"
        "look::a_claim_is_seen_whole";
    /// It takes over what may be taken over by nobody.
    TakesOverAtMostOnce: "begin::a_lapsed_lease_stays_unknown_at_most_once"
        "begin::who_asks_says_what_may_be_taken_over";
    /// It takes over without end.
    TakesOverPastTheLimit: "begin::attempts_that_are_used_up_leave_it_unknown";
    /// It stops taking over one attempt too early.
    StopsBeforeTheLimit: "begin::attempts_that_are_used_up_leave_it_unknown";
    /// It takes over whatever is there if somebody names a claim.
    TakesOverAnotherThanTheNamed: "takeover::a_claim_that_is_named_is_taken_over_and_no_other"
        "takeover::a_later_claim_of_the_same_number_is_another";
    /// It takes over nothing that is named.
    OverlooksTheName: "takeover::a_claim_that_is_named_is_taken_over_whatever_its_number";
    /// It takes over while the lease is live.
    TakesOverTheLiving: "begin::a_live_claim_keeps_others_out"
        "takeover::a_claim_that_is_named_is_not_taken_over_while_it_lives"
        "race::of_a_renewal_and_a_take_over_one_wins";
    /// A take-over leaves the slot with its old owner.
    TakesOverInAnothersName: "begin::a_lapsed_lease_is_taken_over_at_least_once"
        "complete::an_outcome_after_the_take_over_is_fenced";
    /// A take-over is the first attempt.
    ForgetsTheNumberOfTheAbandoned: "begin::a_lapsed_lease_is_taken_over_at_least_once";
    /// After a release everything is the first attempt.
    ForgetsTheNumberOfTheReleased: "begin::a_release_of_what_may_have_run_counts_the_attempt"
        "begin::attempts_are_counted_across_releases_and_take_overs";
    /// The fence is the number of the attempt.
    FencesByNumber: "age::a_first_fence_is_the_moment_of_the_claim" "age::fences_grow";
    /// A take-over has the fence of what it took over.
    KeepsTheFence: "begin::a_lapsed_lease_is_taken_over_at_least_once" "age::fences_grow";
    /// A fence is the time, even if that has not gone on.
    FencesByTheClockAlone: "age::fences_grow_within_one_moment"
        "age::fences_grow_from_one_that_is_ahead";
    /// A lease ends a moment late.
    LapsesAMomentLate: "age::a_lease_and_a_retention_end_at_their_moment";
    /// A record ends a moment late.
    ExpiresAMomentLate: "age::a_lease_and_a_retention_end_at_their_moment";
    /// A lease of the longest time has ended before it began.
    OverflowsALongLease: "begin::a_lease_and_a_retention_may_be_without_end";
    /// A lease is never shorter than a second.
    RoundsALeaseUp: "begin::a_lease_may_be_of_no_time"
        "begin::a_lapsed_lease_is_taken_over_at_least_once";
    /// It renews for anybody.
    RenewsForAnybody: "renew::a_renewal_after_the_take_over_is_fenced"
        "renew::a_renewal_of_another_request_is_fenced" "renew::a_renewal_of_a_lapsed_claim_of_another_is_fenced"
        "renew::a_renewal_of_a_lost_claim_that_another_has_made_is_fenced";
    /// It renews what was released.
    RenewsTheReleased: "renew::a_renewal_after_the_release_is_fenced";
    /// It renews what has an outcome, and loses it.
    RenewsTheCompleted: "renew::a_renewal_after_the_outcome_is_fenced";
    /// A renewal extends nothing.
    RenewsNothing: "renew::a_renewal_extends_the_lease_and_the_retention"
        "renew::a_renewal_may_shorten_the_lease";
    /// A renewal leaves the retention as it was.
    RenewsTheLeaseAlone: "renew::a_renewal_extends_the_lease_and_the_retention";
    /// A renewal only makes a lease longer.
    NeverShortensALease: "renew::a_renewal_may_shorten_the_lease";
    /// What has lapsed cannot be renewed.
    FencesTheLateRenewal: "renew::a_renewal_revives_a_lapsed_claim_that_nobody_took";
    /// A claim that was lost is not put back.
    FencesTheLostRenewal: "renew::a_renewal_puts_a_lost_claim_back";
    /// A renewal is a new claim, with a new fence.
    FencesAnewOnRenewal: "renew::a_renewal_extends_the_lease_and_the_retention"
        "age::a_renewal_does_not_make_a_claim_younger";
    /// A renewal brings back the fence of its grant.
    RenewsTheFenceToo: "age::a_renewal_by_an_earlier_grant_leaves_the_later_one";
    /// A claim that is put back is the first attempt.
    PutsBackTheFirstAttempt: "renew::a_claim_is_put_back_with_its_number"
        "complete::a_lost_record_is_put_back_with_all_that_it_was";
    /// It keeps the outcome of anybody.
    CompletesForAnybody: "complete::an_outcome_after_the_take_over_is_fenced"
        "complete::an_outcome_of_another_request_is_fenced"
        "complete::an_outcome_for_a_lapsed_claim_of_another_is_fenced"
        "complete::an_outcome_of_a_lost_claim_that_another_has_made_is_fenced";
    /// The second outcome replaces the first one.
    KeepsTheSecondOutcome: "complete::the_first_outcome_is_kept"
        "complete::the_first_outcome_is_kept_whatever_its_size" "race::of_fifty_outcomes_of_one_claim_one_is_kept";
    /// The second outcome makes the record live longer.
    ExtendsTheCompleted: "complete::the_first_retention_is_kept";
    /// A repeated outcome is refused.
    FencesTheRepeatedOutcome: "complete::the_first_outcome_is_kept"
        "deadline::an_outcome_that_was_dropped_can_be_repeated";
    /// What was released can be completed.
    CompletesTheReleased: "complete::an_outcome_after_the_release_is_fenced";
    /// What has lapsed cannot be completed.
    FencesTheLateOutcome: "complete::an_outcome_after_the_lease_counts_if_nobody_took_over";
    /// What was lost cannot be completed.
    FencesTheLostOutcome: "complete::an_outcome_puts_a_lost_record_back";
    /// An outcome lives no longer than its claim would have.
    KeepsTheRetentionOfTheClaim: "complete::an_outcome_sets_the_retention";
    /// Fields come back in another order.
    SortsFields: "complete::an_outcome_keeps_fields_trailers_and_bytes_as_they_are";
    /// A field that is repeated comes back once.
    KeepsOneFieldOfAName: "complete::an_outcome_keeps_fields_trailers_and_bytes_as_they_are";
    /// Values come back as text.
    KeepsValuesAsText: "complete::an_outcome_keeps_fields_trailers_and_bytes_as_they_are";
    /// Bodies come back as text.
    KeepsBodiesAsText: "complete::an_outcome_may_look_like_a_record"
        "complete::an_outcome_may_be_large" "complete::an_outcome_may_just_fit_into_a_script";
    /// A hundred fields are enough for anybody.
    KeepsAHundredFields: "complete::an_outcome_may_have_many_and_large_fields";
    /// Trailers are lost.
    LosesTrailers: "complete::an_outcome_keeps_fields_trailers_and_bytes_as_they_are"
        "look::an_outcome_is_seen_whole";
    /// Nobody knows any more which field was sensitive.
    LosesTheMarkOfAField: "complete::an_outcome_keeps_the_mark_of_sensitive_fields";
    /// A body ends after 64 KiB.
    CutsALargeBody: "complete::an_outcome_may_be_large"
        "complete::a_refusal_tells_a_large_outcome_too" "resolve::an_abandoned_claim_can_be_given_a_large_outcome";
    /// A body ends after 1 MiB.
    CutsAVeryLargeBody: "complete::an_outcome_may_be_very_large";
    /// A body ends where 4 KiB do.
    CutsABodyByAByte: "complete::an_outcome_may_just_not_fit_into_a_script";
    /// What is empty counts as nothing.
    TakesEmptyForNothing: "complete::an_outcome_may_be_empty";
    /// Statuses are those that everybody knows.
    KnowsStatusesFrom200: "complete::an_outcome_may_have_the_lowest_status";
    /// And to 599.
    KnowsStatusesTo599: "complete::an_outcome_may_have_the_highest_status";
    /// Of what could not be kept, an empty answer is replayed.
    ReplaysATombstone: "complete::an_outcome_may_be_a_tombstone" "complete::a_tombstone_may_be_bare"
        "resolve::an_abandoned_claim_can_be_given_a_tombstone";
    /// Anybody frees a slot.
    ReleasesForAnybody: "release::a_release_of_a_claim_of_another_is_fenced"
        "release::a_release_of_a_lapsed_claim_of_another_is_fenced"
        "release::a_release_after_the_take_over_is_fenced"
        "release::a_late_copy_of_a_release_does_not_free_the_next_claim";
    /// A released slot is empty.
    LeavesNoTombstone: "begin::a_begin_that_arrives_after_its_own_release_is_cancelled"
        "renew::a_renewal_after_the_release_is_fenced" "look::a_tombstone_is_seen"
        "complete::an_outcome_after_the_release_is_fenced" "release::a_tombstone_outlives_a_short_retention";
    /// Of nothing a tombstone stays.
    LeavesATombstoneOfNothing: "release::a_release_of_nothing_is_done"
        "release::a_release_of_what_has_expired_is_done";
    /// The tombstone lives as long as the record would have.
    KeepsATombstoneForTheRetention: "begin::a_tombstone_ends"
        "release::a_tombstone_has_a_life_of_its_own";
    /// A tombstone ends soon, whatever it has to remember.
    ForgetsTheReleased: "release::what_may_have_run_is_remembered_for_the_retention"
        "release::an_earlier_attempt_is_remembered_for_the_retention";
    /// The tombstone is of nobody's request.
    ForgetsWhatTheReleasedWas: "release::a_release_keeps_what_the_request_was";
    /// It frees what has an outcome.
    ReleasesTheCompleted: "release::a_release_after_the_outcome_is_fenced"
        "resolve::a_resolved_claim_keeps_that_outcome";
    /// What has lapsed cannot be given back.
    FencesTheLateRelease: "release::a_lapsed_claim_can_be_released";
    /// A release that is sent again is refused.
    FencesTheRepeatedRelease: "release::a_release_can_be_repeated"
        "deadline::a_renewal_and_a_release_that_were_dropped_can_be_repeated";
    /// A release that is sent again counts again.
    CountsTheRepeatedRelease: "release::a_release_can_be_repeated";
    /// A release that is sent again makes the tombstone stay.
    ExtendsTheTombstone: "release::a_repeated_release_leaves_the_end_of_the_tombstone";
    /// There must be something to give back.
    FencesTheReleaseOfNothing: "release::a_release_of_nothing_is_done"
        "deadline::a_late_begin_can_be_cancelled";
    /// What another released is given back by anybody.
    ReleasesWhatAnotherReleased: "release::a_release_of_what_another_released_is_fenced";
    /// Every release counts.
    CountsWhatDidNotRun: "begin::a_release_of_what_did_not_run_leaves_the_attempt_number";
    /// No release counts.
    ForgetsWhatMayHaveRun: "begin::a_release_of_what_may_have_run_counts_the_attempt"
        "begin::a_released_slot_is_free_under_another_scheme_too";
    /// It decides about those who run.
    ResolvesTheLiving: "resolve::a_live_claim_cannot_be_resolved"
        "resolve::a_claim_that_was_renewed_cannot_be_resolved"
        "resolve::a_claim_that_another_has_taken_over_cannot_be_resolved";
    /// It decides about whatever is there.
    ResolvesByAnyFence: "resolve::a_claim_is_resolved_by_its_own_fence_only"
        "resolve::a_claim_that_was_taken_over_is_not_resolved_by_its_old_fence";
    /// It decides a second time.
    ResolvesTheCompleted: "resolve::a_completed_claim_cannot_be_resolved"
        "resolve::a_resolved_claim_keeps_that_outcome";
    /// It decides about what is not there, and says that it has.
    ResolvesNothing: "resolve::what_is_not_there_cannot_be_resolved"
        "resolve::what_has_expired_cannot_be_resolved";
    /// The record lives on as if nobody had decided.
    ResolvesForTheOldRetention: "resolve::a_resolved_claim_expires";
    /// What is decided still passes for its worker's.
    ResolvesInItsName: "resolve::a_resolved_claim_is_its_workers_no_more"
        "resolve::a_large_resolved_claim_is_its_workers_no_more";
    /// What is decided is the first attempt.
    ResolvesTheFirstAttempt: "resolve::a_claim_that_was_taken_over_can_be_given_an_outcome";
    /// It decides about nobody's request.
    ForgetsWhatWasResolved: "resolve::an_abandoned_claim_can_be_given_an_outcome";
    /// It tells what has expired.
    SeesTheExpired: "look::what_has_expired_is_not_seen";
    /// It tells nothing of what has lapsed.
    OverlooksTheAbandoned: "look::an_abandoned_claim_is_seen"
        "look::a_claim_that_was_taken_over_is_seen_as_the_new_one";
    /// It tells nothing of tombstones.
    OverlooksTombstones: "look::a_tombstone_is_seen"
        "watch::a_watch_ends_when_the_claim_is_released";
    /// Whoever looks has been there.
    LeavesWhatItLookedFor: "look::nothing_is_seen_as_nothing" "begin::a_free_slot_is_claimed";
    /// Its clock stands when it is looked at.
    StandsStill: "age::the_clock_of_the_store_goes_on";
    /// Everything is as young as it can be.
    TellsNoAge: "age::an_answer_grows_older" "age::an_abandoned_claim_grows_older"
        "age::a_claim_grows_older_and_its_lease_runs_down";
    /// An outcome is as old as its claim.
    TellsTheAgeOfTheClaim: "age::an_answer_is_born_with_its_outcome";
    /// Those who wait are told the whole lease.
    TellsTheWholeLease: "age::a_claim_grows_older_and_its_lease_runs_down";
    /// Who watches sees it when the time is over.
    NeverWakes: "watch::a_watch_ends_when_the_claim_is_completed"
        "watch::a_watch_ends_when_the_claim_is_released" "watch::what_does_not_run_is_told_at_once";
    /// Who watches is told what is there, and must ask again.
    WakesAtOnce: "watch::a_watch_does_not_end_before_its_time"
        "watch::a_watch_ends_when_the_claim_is_completed";
    /// Who watches is woken by whatever happens.
    WakesOnAnyChange: "watch::a_watch_outlasts_a_renewal"
        "watch::a_watch_outlasts_what_happens_elsewhere";
    /// Who watches is woken by those who write, and a lapse is written by nobody.
    MissesTheLapse: "watch::a_watch_ends_when_the_lease_lapses"
        "watch::a_watch_ends_when_the_record_expires" "watch::what_runs_no_more_is_told_at_once";
    /// Who watches waits for whoever runs.
    WatchesWhoeverRuns: "watch::what_does_not_run_is_told_at_once"
        "watch::a_watch_ends_when_the_claim_is_taken_over";
    /// Who watches does so until something happens.
    WatchesBeyondItsTime: "watch::a_watch_ends_when_its_time_is_over"
        "watch::any_number_may_watch_one_claim";
    /// One watches, and the others in vain.
    WakesOneAlone: "watch::any_number_may_watch_one_claim";
    /// Who goes away takes the others along.
    WakesNobodyAfterADrop: "watch::a_watch_that_is_dropped_ends_no_other";
    /// An outcome by an operator wakes nobody.
    MissesTheResolution: "watch::a_watch_ends_when_the_claim_is_resolved";
    /// A call that was given up happens later.
    HappensLate: "deadline::a_late_begin_does_not_claim_later"
        "deadline::a_late_begin_does_not_take_over_later" "deadline::a_late_renewal_does_not_extend_later"
        "deadline::a_late_release_does_not_free_later" "deadline::a_late_resolution_does_not_decide_later";
    /// A call that was late has happened, and the reply says that it has not.
    DeniesWhatWasLate: "deadline::a_late_begin_does_not_claim_later"
        "deadline::a_late_release_does_not_free_later";
    /// A call that failed has happened, and the error says that it has not.
    DeniesWhatFailed: "deadline::a_late_renewal_does_not_extend_later"
        "deadline::a_late_resolution_does_not_decide_later";
    /// Of an outcome that was late a half is kept.
    CutsALateOutcome: "deadline::a_late_outcome_can_be_stored_again";
    /// A call that nobody waits for any more stays half done.
    StopsHalfWay: "deadline::a_begin_that_was_dropped_can_be_repeated";
    /// A call that nobody waits for any more leaves the store locked.
    StaysLocked: "deadline::an_outcome_that_was_dropped_can_be_repeated"
        "deadline::a_renewal_and_a_release_that_were_dropped_can_be_repeated";
}
