//! `begin`: what a request finds in its slot, and when it may run.

use std::time::Duration;

use super::steps::*;
use crate::protocol::Scheme;

cases! { "begin";
    /// Who comes first may run, and the slot says who it is.
    a_free_slot_is_claimed: [
        look(Empty),
        begin(ANN, Started(1)),
        look(InProgress(ANN, 1)),
    ];
    /// A call whose answer was lost is sent again, and must not meet its own claim as another's.
    a_second_copy_of_a_begin_gets_the_same_claim: [
        begin(ANN, Started(1)),
        begin(ANN, Mine(1)),
    ];
    /// A copy that took its time does not take the claim over from itself.
    a_second_copy_of_a_begin_gets_the_same_claim_even_after_the_lease: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(ANN.rerunning(), Mine(1)),
    ];
    /// Asking again for one's own claim is not a renewal.
    a_second_copy_of_a_begin_extends_nothing: [
        begin(ANN.lapsing(), Started(1)),
        begin(ANN, Mine(1)),
        wait(),
        look(Abandoned(ANN.lapsing(), 1)),
        begin(BOB.rerunning(), Reclaimed(2)),
    ];
    /// An attempt may compute its fingerprint anew, in the way of the record; its nonce is what it is.
    a_nonce_counts_more_than_a_fingerprint: [
        begin(ANN, Started(1)),
        begin(Who { nonce: ANN.nonce, ..EVE }, Mine(1)),
        begin(Who { nonce: ANN.nonce, ..FAY }, Mine(1)),
        complete(ANN, Text("a"), Applied),
        begin(Who { nonce: ANN.nonce, ..EVE }, Completed(Text("a"))),
    ];
    /// What was given up stays given up, however late a copy of its begin arrives.
    a_begin_that_arrives_after_its_own_release_is_cancelled: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(ANN, Cancelled),
        begin(ANN.rerunning(), Cancelled),
        look(Released(ANN, 0)),
    ];
    /// A tombstone is for late copies; when none can arrive any more, the slot is free.
    a_tombstone_ends: [
        begin(ANN, Started(1)),
        release_for_a_while(ANN, No),
        wait(),
        look(Empty),
        begin(ANN, Started(1)),
    ];
    /// A handler that did nothing has not used up an attempt.
    a_release_of_what_did_not_run_leaves_the_attempt_number: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(BOB, Started(1)),
    ];
    /// A handler that may have done something has.
    a_release_of_what_may_have_run_counts_the_attempt: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
        begin(BOB, Started(2)),
    ];
    /// The number goes on through any mixture of releases and take-overs.
    attempts_are_counted_across_releases_and_take_overs: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        begin(BOB.lapsing(), Started(2)),
        wait(),
        begin(CAT.rerunning(), Reclaimed(3)),
        release(CAT, No, Applied),
        look(Released(CAT, 2)),
        begin(ANN, Started(3)),
        look(InProgress(ANN, 3)),
    ];
    /// What was released was never done, so another request may take the key.
    a_released_slot_is_free_for_another_request_too: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(EVE, Started(1)),
        look(InProgress(EVE, 1)),
    ];
    /// The same for a server that fingerprints in another way.
    a_released_slot_is_free_under_another_scheme_too: [
        begin(FAY, Started(1)),
        release(FAY, Maybe, Applied),
        begin(ANN, Started(2)),
        look(InProgress(ANN, 2)),
        release(ANN, Maybe, Applied),
        begin(Who { nonce: 8, ..FAY }, Started(3)),
        look(InProgress(Who { nonce: 8, ..FAY }, 3)),
    ];
    /// While the lease is live, nobody else may run, whatever the guarantee.
    a_live_claim_keeps_others_out: [
        begin(ANN, Started(1)),
        begin(BOB, Busy),
        begin(BOB.rerunning(), Busy),
    ];
    /// A key that is used for something else is refused.
    another_request_under_the_key_is_a_mismatch: [
        begin(ANN, Started(1)),
        begin(EVE, Mismatch),
        begin(EVE.rerunning(), Mismatch),
    ];
    /// An abandoned claim is not taken over by another request.
    another_request_is_a_mismatch_even_after_the_lease: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(EVE, Mismatch),
        begin(EVE.rerunning(), Mismatch),
    ];
    /// Fingerprints of two schemes cannot be compared, so the asker learns which one to use.
    a_request_of_another_scheme_is_told_so: [
        begin(ANN, Started(1)),
        begin(FAY, OtherScheme(Made(Scheme::raw))),
        complete(ANN, Text("a"), Applied),
        begin(FAY, OtherScheme(Made(Scheme::raw))),
    ];
    /// The scheme is told whole, or it could not be used.
    a_scheme_with_headers_is_told_with_its_headers: [
        begin(FAY, Started(1)),
        look(InProgress(FAY, 1)),
        begin(ANN, OtherScheme(Made(selecting))),
        renew(FAY, Applied),
        begin(ANN, OtherScheme(Made(selecting))),
        complete(FAY, Text("f"), Applied),
        look(Holds(FAY, Text("f"))),
        begin(ANN, OtherScheme(Made(selecting))),
    ];
    /// Nobody knows whether it ran, and at most once means not to try.
    a_lapsed_lease_stays_unknown_at_most_once: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        begin(CAT, Unknown(1)),
    ];
    /// What is safe to repeat is repeated, and the old claim is worth nothing any more.
    a_lapsed_lease_is_taken_over_at_least_once: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        look(InProgress(BOB, 2)),
        begin(CAT.rerunning(), Busy),
        begin(ANN.rerunning(), Busy),
        begin(BOB.rerunning(), Mine(2)),
    ];
    /// Whether it may be taken over is up to the one who asks.
    who_asks_says_what_may_be_taken_over: [
        begin(ANN.rerunning().lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        begin(CAT.rerunning(), Reclaimed(2)),
    ];
    /// A request that kills its server each time is not run for ever.
    attempts_that_are_used_up_leave_it_unknown: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.at_most(1), Unknown(1)),
        begin(BOB.at_most(2).lapsing(), Reclaimed(2)),
        wait(),
        begin(CAT.at_most(2), Unknown(2)),
        begin(CAT.at_most(3), Reclaimed(3)),
    ];
    /// Who has the fingerprint gets the outcome, and who has not does not.
    a_completed_record_answers_every_retry: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
        begin(BOB, Completed(Text("a"))),
        begin(CAT.rerunning(), Completed(Text("a"))),
        begin(ANN, Completed(Text("a"))),
        begin(EVE, Mismatch),
    ];
    /// After the retention the key is a new one.
    a_completed_record_expires: [
        begin(ANN, Started(1)),
        complete(ANN.expiring(), Text("a"), Applied),
        wait(),
        look(Empty),
        begin(EVE, Started(1)),
    ];
    /// What was abandoned long ago is forgotten too, and its claim is not its owner's any more.
    an_unfinished_record_expires: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        look(Empty),
        begin(BOB, Started(1)),
        begin(ANN, Busy),
    ];
    /// A lease of no time lapses at once, and the record stays.
    a_lease_may_be_of_no_time: [
        begin(Who { lease: Duration::ZERO, ..ANN }, Started(1)),
        begin(BOB, Unknown(1)),
        begin(BOB.rerunning(), Reclaimed(2)),
    ];
    /// A span that no clock reaches is no reason to fail, or to start at once.
    a_lease_and_a_retention_may_be_without_end: [
        begin(Who { lease: Duration::MAX, retention: Duration::MAX, ..ANN }, Started(1)),
        begin(BOB.rerunning(), Busy),
        renew(Who { lease: Duration::MAX, retention: Duration::MAX, ..ANN }, Applied),
        begin(BOB.rerunning(), Busy),
        complete(Who { retention: Duration::MAX, ..ANN }, Text("a"), Applied),
        begin(BOB, Completed(Text("a"))),
    ];
}
