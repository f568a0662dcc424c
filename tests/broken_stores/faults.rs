//! What can be wrong with a store, one thing each, and the cases that must notice.

macro_rules! faults {
    ($(#[doc = $sentence:literal] $fault:ident: $($case:literal)+;)*) => {
        /// One thing that is wrong with a store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { None, $(#[doc = $sentence] $fault),* }

        /// Every fault, what it is, and the cases that must fail.
        pub const FAULTS: &[(Fault, &str, &[&str])] =
            &[$((Fault::$fault, $sentence, &[$($case),+])),*];
    };
}

faults! {
    /// It looks, and then writes, and others come between.
    ChecksThenActs: "race::of_fifty_concurrent_requests_one_starts"
        "race::of_fifty_concurrent_take_overs_one_succeeds";
    /// It keeps less of the address than there is, and returns another tenant's record.
    ForgetsTheEndOfTheSlot: "look::slots_that_differ_in_one_bit_do_not_mix";
    /// A lease never ends.
    NeverLapses: "begin::a_lapsed_lease_is_taken_over_at_least_once";
    /// A record never ends.
    NeverExpires: "begin::a_completed_record_expires" "begin::a_tombstone_ends";
    /// The lease is the store's expiry: what has lapsed is forgotten.
    ForgetsAtTheEndOfTheLease: "begin::a_lapsed_lease_stays_unknown_at_most_once";
    /// A begin that is sent again meets its own claim.
    IsBusyForItself: "begin::a_second_copy_of_a_begin_gets_the_same_claim";
    /// What an attempt gave up it gets again.
    StartsAgainAfterItsRelease: "begin::a_begin_that_arrives_after_its_own_release_is_cancelled";
    /// Another request gets the outcome.
    ReplaysAMismatch: "begin::a_completed_record_answers_every_retry";
    /// Another request takes an abandoned claim over.
    TakesOverAMismatch: "begin::another_request_is_a_mismatch_even_after_the_lease";
    /// A fingerprint of another scheme is another request.
    TakesASchemeForAMismatch: "begin::a_request_of_another_scheme_is_told_so";
    /// It takes over what may be taken over by nobody.
    TakesOverAtMostOnce: "begin::a_lapsed_lease_stays_unknown_at_most_once";
    /// It takes over without end.
    TakesOverPastTheLimit: "begin::attempts_that_are_used_up_leave_it_unknown";
    /// It stops taking over one attempt too early.
    StopsBeforeTheLimit: "begin::attempts_that_are_used_up_leave_it_unknown";
    /// It takes over while the lease is live.
    TakesOverTheLiving: "begin::a_live_claim_keeps_others_out";
    /// A take-over is the first attempt.
    ForgetsTheNumberOfTheAbandoned: "begin::a_lapsed_lease_is_taken_over_at_least_once";
    /// After a release everything is the first attempt.
    ForgetsTheNumberOfTheReleased: "begin::a_release_of_what_may_have_run_counts_the_attempt";
    /// The fence is the number of the attempt.
    FencesByNumber: "age::fences_grow";
    /// A take-over has the fence of what it took over.
    KeepsTheFence: "age::fences_grow";

    /// It renews for anybody.
    RenewsForAnybody: "renew::a_renewal_after_the_take_over_is_fenced";
    /// It renews what was released.
    RenewsTheReleased: "renew::a_renewal_after_the_release_is_fenced";
    /// It renews what has an outcome, and loses it.
    RenewsTheCompleted: "renew::a_renewal_after_the_outcome_is_fenced";
    /// A renewal extends nothing.
    RenewsNothing: "renew::a_renewal_extends_the_lease_and_the_retention";
    /// A renewal leaves the retention as it was.
    RenewsTheLeaseAlone: "renew::a_renewal_extends_the_lease_and_the_retention";
    /// A renewal brings back the fence of its grant.
    RenewsTheFenceToo: "age::a_renewal_by_an_earlier_grant_leaves_the_later_one";
    /// What has lapsed cannot be renewed.
    FencesTheLateRenewal: "renew::a_renewal_revives_a_lapsed_claim_that_nobody_took";
    /// A claim that was lost is not put back.
    FencesTheLostRenewal: "renew::a_renewal_puts_a_lost_claim_back";

    /// It keeps the outcome of anybody.
    CompletesForAnybody: "complete::an_outcome_after_the_take_over_is_fenced";
    /// The second outcome replaces the first one.
    KeepsTheSecondOutcome: "complete::the_first_outcome_is_kept";
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
    /// Trailers are lost.
    LosesTrailers: "complete::an_outcome_keeps_fields_trailers_and_bytes_as_they_are";
    /// A body ends after 64 KiB.
    CutsALargeBody: "complete::an_outcome_may_be_large";
    /// Of what could not be kept, an empty answer is replayed.
    ReplaysATombstone: "complete::an_outcome_may_be_a_tombstone";

    /// Anybody frees a slot.
    ReleasesForAnybody: "release::a_release_of_a_claim_of_another_is_fenced";
    /// A released slot is empty.
    LeavesNoTombstone: "begin::a_begin_that_arrives_after_its_own_release_is_cancelled"
        "look::a_tombstone_is_seen";
    /// The tombstone lives as long as the record would have.
    KeepsATombstoneForTheRetention: "begin::a_tombstone_ends";
    /// It frees what has an outcome.
    ReleasesTheCompleted: "release::a_release_after_the_outcome_is_fenced";
    /// What has lapsed cannot be given back.
    FencesTheLateRelease: "release::a_lapsed_claim_can_be_released";
    /// There must be something to give back.
    FencesTheReleaseOfNothing: "release::a_release_of_nothing_is_done";
    /// Every release counts.
    CountsWhatDidNotRun: "begin::a_release_of_what_did_not_run_leaves_the_attempt_number";
    /// No release counts.
    ForgetsWhatMayHaveRun: "begin::a_release_of_what_may_have_run_counts_the_attempt";

    /// It decides about those who run.
    ResolvesTheLiving: "resolve::a_live_claim_cannot_be_resolved";
    /// It decides about whatever is there.
    ResolvesByAnyFence: "resolve::a_claim_is_resolved_by_its_own_fence_only";
    /// What is decided lives on as if nobody had decided.
    ResolvesForTheOldRetention: "resolve::a_resolved_claim_expires";

    /// It tells what has expired.
    SeesTheExpired: "look::what_has_expired_is_not_seen";
    /// It tells nothing of tombstones.
    OverlooksTombstones: "look::a_tombstone_is_seen";
    /// Everything is as young as it can be.
    TellsNoAge: "age::an_answer_grows_older";
    /// Who watches sees it when the time is over.
    NeverWakes: "watch::a_watch_ends_when_the_claim_is_completed";
    /// Who watches is told what is there, and must ask again.
    WakesAtOnce: "watch::a_watch_does_not_end_before_its_time";
    /// A call that was late has happened, and the reply says that it has not.
    DeniesWhatWasLate: "deadline::a_late_begin_does_not_claim_later"
        "deadline::a_late_release_does_not_free_later";
}
