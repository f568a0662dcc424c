//! `complete`: which outcome is kept, and how.

use tower_idempotency::protocol::Scheme;

use super::case::run;
use super::harness::{Memory, Redis};
use super::steps::*;

contract! {
    the_first_outcome_is_kept: [
        begin(ANN, Started(1)),
        complete(ANN, Text("first"), Applied),
        complete(ANN, Text("second"), Applied),
        look(Holds(ANN, Text("first"))),
    ];
    an_outcome_sets_the_retention: [
        begin(Who { retention: HOUR / 10, ..ANN }, Started(1)),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
    ];
    an_outcome_after_the_lease_counts_if_nobody_took_over: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        complete(ANN, Text("a"), Applied),
        begin(BOB.rerunning(), Completed(Text("a"))),
    ];
    an_outcome_puts_a_lost_record_back: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
        begin(BOB, Completed(Text("a"))),
    ];
    an_outcome_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        complete(ANN, Text("a"), Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        complete(ANN, Text("a"), Fenced(&Completed(Text("b")))),
        begin(CAT, Completed(Text("b"))),
    ];
    an_outcome_of_another_request_is_fenced: [
        begin(ANN, Started(1)),
        complete(EVE, Text("e"), Fenced(&Mismatch)),
        complete(ANN, Text("a"), Applied),
        complete(EVE, Text("e"), Fenced(&Mismatch)),
        complete(FAY, Text("f"), Fenced(&OtherScheme(Scheme::raw))),
    ];
    an_outcome_for_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        complete(BOB, Text("b"), Fenced(&Unknown(1))),
    ];
    an_outcome_after_the_release_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        complete(ANN, Text("a"), Fenced(&Nothing)),
        complete(BOB, Text("b"), Fenced(&Nothing)),
        look(Released(ANN, 0)),
    ];
    an_outcome_may_be_empty: stored(Content::Empty);
    an_outcome_keeps_fields_trailers_and_bytes_as_they_are: stored(Content::AllFields);
    an_outcome_may_be_a_tombstone: stored(Content::Tombstone);
    an_outcome_may_just_fit_into_a_script: stored(Content::Bytes(4014));
    an_outcome_may_just_not_fit_into_a_script: stored(Content::Bytes(4015));
    an_outcome_may_be_large: stored(Content::Bytes(300 << 10));
    an_outcome_may_be_very_large: stored(Content::Bytes(4 << 20));

    a_refusal_tells_a_large_outcome_too: [
        begin(ANN, Started(1)),
        complete(ANN, Content::Bytes(300 << 10), Applied),
        complete(BOB, Text("b"), Fenced(&Completed(Content::Bytes(300 << 10)))),
        complete(ANN, Text("a"), Applied),
        release(ANN, No, Fenced(&Completed(Content::Bytes(300 << 10)))),
    ];
}

/// A way in and two ways out for this content.
fn stored(content: Content) -> Vec<Step> {
    vec![
        begin(ANN, Started(1)),
        complete(ANN, content, Applied),
        look(Holds(ANN, content)),
        begin(BOB, Completed(content)),
        begin(EVE, Mismatch),
    ]
}
