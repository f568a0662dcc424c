//! `begin`: what a request finds in its slot, and when it may run.

use tower_idempotency::protocol::Scheme;

use super::case::run;
use super::harness::{Memory, Redis};
use super::steps::*;

contract! {
    a_free_slot_is_claimed: [
        look(Empty),
        begin(ANN, Started(1)),
        look(InProgress(ANN, 1)),
    ];
    a_second_copy_of_a_begin_gets_the_same_claim: [
        begin(ANN, Started(1)),
        begin(ANN, Mine(1)),
    ];
    a_second_copy_of_a_begin_gets_the_same_claim_even_after_the_lease: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(ANN.rerunning(), Mine(1)),
    ];
    a_begin_that_arrives_after_its_own_release_is_cancelled: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(ANN, Cancelled),
        begin(ANN.rerunning(), Cancelled),
        look(Released(ANN, 0)),
    ];
    a_tombstone_ends: [
        begin(ANN, Started(1)),
        (Do::Release(ANN, No, SHORT), Applied),
        wait(),
        look(Empty),
        begin(ANN, Started(1)),
    ];
    a_release_of_what_did_not_run_leaves_the_attempt_number: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(BOB, Started(1)),
    ];
    a_release_of_what_may_have_run_counts_the_attempt: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
        begin(BOB, Started(2)),
    ];
    a_released_slot_is_free_for_another_request_too: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(EVE, Started(1)),
        look(InProgress(EVE, 1)),
    ];
    a_live_claim_keeps_others_out: [
        begin(ANN, Started(1)),
        begin(BOB, Busy),
        begin(BOB.rerunning(), Busy),
    ];
    another_request_under_the_key_is_a_mismatch: [
        begin(ANN, Started(1)),
        begin(EVE, Mismatch),
        begin(EVE.rerunning(), Mismatch),
    ];
    another_request_is_a_mismatch_even_after_the_lease: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(EVE.rerunning(), Mismatch),
    ];
    a_request_of_another_scheme_is_told_so: [
        begin(ANN, Started(1)),
        begin(FAY, OtherScheme(Scheme::raw)),
        complete(ANN, Text("a"), Applied),
        begin(FAY, OtherScheme(Scheme::raw)),
    ];
    a_scheme_with_headers_is_told_with_its_headers: [
        begin(FAY, Started(1)),
        look(InProgress(FAY, 1)),
        begin(ANN, OtherScheme(selecting)),
        renew(FAY, Applied),
        begin(ANN, OtherScheme(selecting)),
        complete(FAY, Text("f"), Applied),
        look(Holds(FAY, Text("f"))),
        begin(ANN, OtherScheme(selecting)),
    ];
    a_lapsed_lease_stays_unknown_at_most_once: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        begin(CAT, Unknown(1)),
    ];
    a_lapsed_lease_is_taken_over_at_least_once: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        look(InProgress(BOB, 2)),
        begin(CAT.rerunning(), Busy),
        begin(ANN.rerunning(), Busy),
        begin(BOB.rerunning(), Mine(2)),
    ];
    attempts_that_are_used_up_leave_it_unknown: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.at_most(1), Unknown(1)),
        begin(BOB.at_most(2).lapsing(), Reclaimed(2)),
        wait(),
        begin(CAT.at_most(2), Unknown(2)),
        begin(CAT.at_most(3), Reclaimed(3)),
    ];
    a_completed_record_answers_every_retry: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
        begin(BOB, Completed(Text("a"))),
        begin(CAT.rerunning(), Completed(Text("a"))),
        begin(ANN, Completed(Text("a"))),
        begin(EVE, Mismatch),
    ];
    a_completed_record_expires: [
        begin(ANN, Started(1)),
        complete(ANN.expiring(), Text("a"), Applied),
        wait(),
        look(Empty),
        begin(EVE, Started(1)),
    ];
    an_unfinished_record_expires: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        look(Empty),
        begin(BOB, Started(1)),
        begin(ANN, Busy),
    ];
}
