//! Every seeded defect, the variant it is seeded into, the invariant that must break, and in how many
//! steps: the search is breadth-first, so that is the minimum.

use crate::check::find;
use crate::defect::Defect;
use crate::variant::{AT_LEAST_ONCE, AT_MOST_ONCE, Durable, Fault};

macro_rules! defects {
    ($($name:ident: $variant:expr, $defect:ident => $invariant:literal, $steps:literal;)*) => {
        $(#[test]
        fn $name() {
            let variant = $variant.of(2).seeded(Defect::$defect);
            find(variant, ($invariant, $steps));
        })*
    };
}

defects! {
    a_lease_that_is_the_expiry_runs_twice: AT_MOST_ONCE, LeaseIsExpiry => "I4", 8;
    unfenced_writes_change_what_is_stored: AT_LEAST_ONCE, UnfencedWrites => "I3", 11;
    unfenced_writes_give_two_answers: AT_LEAST_ONCE, UnfencedWrites => "I9", 14;
    without_a_nonce_a_retry_meets_itself: AT_MOST_ONCE, NoNonce => "I12", 2;
    a_new_nonce_on_a_retry_meets_itself: AT_MOST_ONCE, NewNonceOnRepeat => "I12", 3;
    without_deadline_and_cancel_a_claim_is_left: AT_MOST_ONCE, NoDeadlineNoCancel => "I19", 4;
    a_number_as_token_lets_a_zombie_in:
        AT_LEAST_ONCE.with(Fault::Eviction), TokenIsNumber => "I6", 9;
    a_number_as_token_repeats: AT_LEAST_ONCE.with(Fault::Eviction), TokenIsNumber => "I1", 4;
    without_a_tombstone_a_claim_is_left: AT_MOST_ONCE.release(), NoTombstone => "I19", 10;
    a_short_tombstone_leaves_a_claim:
        AT_MOST_ONCE.release().with(Fault::Expiry), ShortTombstone => "I19", 11;
    a_cancel_after_the_start_is_seen: AT_MOST_ONCE, CancelAfterStart => "I20", 8;
    a_cancel_after_the_start_runs_twice: AT_MOST_ONCE, CancelAfterStart => "I4", 12;
    a_cancel_too_soon_leaves_a_claim: AT_MOST_ONCE, CancelTooSoon => "I19", 15;
    an_ignored_shortfall_runs_twice:
        AT_MOST_ONCE.with(Fault::FailOver(Durable::Begins)), ShortfallIgnored => "I4", 7;
    a_lease_by_the_clients_clock_ends_too_soon:
        AT_LEAST_ONCE.timed(), LeaseByClientClock => "I18", 5;
    a_lease_by_the_clients_clock_has_two_live_workers:
        AT_LEAST_ONCE.timed(), LeaseByClientClock => "I5", 8;
    a_replay_before_the_look_at_expiry:
        AT_MOST_ONCE.with(Fault::Expiry), ReplayBeforeExpiry => "I16", 10;
    a_take_over_at_most_once_runs_twice: AT_MOST_ONCE, TakeOverAlways => "I4", 8;
    an_ignored_fingerprint_answers_a_stranger:
        AT_MOST_ONCE.with(Fault::OtherBody), FingerprintIgnored => "I8", 8;
    an_unfenced_renew_takes_a_claim: AT_LEAST_ONCE, UnfencedRenew => "I2", 8;
    a_second_outcome_that_wins_changes_what_is_stored:
        AT_MOST_ONCE.timed().with(Fault::Hook), SecondOutcomeWins => "I3", 13;
    an_unfenced_resolve_ends_a_live_claim:
        AT_MOST_ONCE.timed().with(Fault::Hook), UnfencedResolve => "I2", 11;
    an_own_answer_when_fenced_is_a_second_one: AT_LEAST_ONCE, OwnAnswerWhenFenced => "I9", 14;
    a_resolved_record_that_passes_for_its_workers_gives_two_answers:
        AT_MOST_ONCE.timed().with(Fault::Hook), ResolveKeepsNonce => "I9", 13;
    a_run_on_an_unknown_begin_has_no_claim: AT_MOST_ONCE, RunOnUnknown => "I11", 3;
    a_start_on_a_lapsed_claim: AT_LEAST_ONCE.timed(), NoConfirmation => "I5", 4;
    work_that_ends_with_its_client_is_not_settled:
        AT_MOST_ONCE.with(Fault::HangUp), DropAbandons => "I14", 2;
    work_that_ends_with_its_client_leaves_a_claim:
        AT_MOST_ONCE.with(Fault::HangUp), DropAbandons => "I19", 3;
    a_purge_that_does_not_look_again: AT_MOST_ONCE.with(Fault::Expiry), PurgeUnexpired => "I15", 3;
    a_release_too_soon_leaves_a_claim: AT_MOST_ONCE.release(), ReleaseTooSoon => "I19", 17;
    a_blind_commit_leaves_two_rows: AT_MOST_ONCE.in_transactions(), BlindCommit => "I7", 16;
    a_row_that_is_committed_first_has_no_record: AT_MOST_ONCE.in_transactions(), RowFirst => "I7", 7;
    an_unfenced_take_over_lets_a_stale_worker_commit:
        AT_MOST_ONCE.in_transactions(), UnfencedTakeOver => "I2", 11;
    an_answer_before_the_fence_may_not_be_committed:
        AT_MOST_ONCE.in_transactions(), AnswerBeforeFence => "I9", 16;
    a_marked_claim_that_is_resolved_is_told_as_committed:
        AT_MOST_ONCE.in_transactions().timed().with(Fault::Hook), MarkedResolved => "I9", 16;
    a_forgotten_number_runs_too_often:
        AT_LEAST_ONCE.max_attempts(1), NumberForgotten => "I5", 6;
}

#[test]
fn a_rerun_that_knows_its_claim_by_number_runs_twice() {
    let variant = AT_MOST_ONCE.release().timed().with(Fault::Hook).of(3);
    find(variant.seeded(Defect::RerunByNumber), ("I4", 17));
}
