//! `complete`: which outcome is kept, and how.

use super::steps::*;
use crate::protocol::Scheme;

cases! { "complete";
    /// A repetition succeeds, and changes nothing: what was once replayed is replayed for good.
    the_first_outcome_is_kept: [
        begin(ANN, Started(1)),
        complete(ANN, Text("first"), Applied),
        complete(ANN, Text("second"), Applied),
        look(Holds(ANN, Text("first"))),
        begin(BOB, Completed(Text("first"))),
    ];
    /// The same for an outcome that replaces a larger or a smaller one.
    the_first_outcome_is_kept_whatever_its_size: [
        begin(ANN, Started(1)),
        complete(ANN, Content::Bytes(20_000), Applied),
        complete(ANN, Content::Empty, Applied),
        complete(ANN, Content::Tombstone, Applied),
        complete(ANN, Content::Bytes(40_000), Applied),
        look(Holds(ANN, Content::Bytes(20_000))),
    ];
    /// A repetition does not make the record live longer either.
    the_first_retention_is_kept: [
        begin(ANN, Started(1)),
        complete(Who { retention: HOUR / 10, ..ANN }, Text("a"), Applied),
        complete(ANN, Text("a"), Applied),
        look(Holds(Who { retention: HOUR / 10, ..ANN }, Text("a"))),
    ];
    /// An outcome answers for the whole retention, counted from now.
    an_outcome_sets_the_retention: [
        begin(Who { retention: HOUR / 10, ..ANN }, Started(1)),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
    ];
    /// The outcome of a slow handler is as true as any.
    an_outcome_after_the_lease_counts_if_nobody_took_over: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        complete(ANN, Text("a"), Applied),
        begin(BOB.rerunning(), Completed(Text("a"))),
    ];
    /// A store that lost the record is told what came of it.
    an_outcome_puts_a_lost_record_back: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        complete(ANN, Text("a"), Applied),
        look(Holds(ANN, Text("a"))),
        begin(BOB, Completed(Text("a"))),
    ];
    /// It is put back whole: with its scheme, its number and its fence.
    a_lost_record_is_put_back_with_all_that_it_was: [
        begin(FAY.lapsing(), Started(1)),
        wait(),
        begin(Who { nonce: 8, ..FAY }.rerunning().expiring(), Reclaimed(2)),
        wait(),
        complete(Who { nonce: 8, ..FAY }, Content::AllFields, Applied),
        look(Holds(Who { nonce: 8, ..FAY }, Content::AllFields)),
        begin(ANN, OtherScheme(Made(selecting))),
    ];
    /// Who claimed the lost record meanwhile has it.
    an_outcome_of_a_lost_claim_that_another_has_made_is_fenced: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        begin(BOB, Started(1)),
        complete(ANN, Text("a"), Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        complete(ANN, Text("a"), Fenced(&Completed(Text("b")))),
    ];
    /// Two clients never see two outcomes: the old owner is told the new one's.
    an_outcome_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        complete(ANN, Text("a"), Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        complete(ANN, Text("a"), Fenced(&Completed(Text("b")))),
        begin(CAT, Completed(Text("b"))),
    ];
    /// The claim of one request is not another's.
    an_outcome_of_another_request_is_fenced: [
        begin(ANN, Started(1)),
        complete(EVE, Text("e"), Fenced(&Mismatch)),
        complete(ANN, Text("a"), Applied),
        complete(EVE, Text("e"), Fenced(&Mismatch)),
        complete(FAY, Text("f"), Fenced(&OtherScheme(Made(Scheme::raw)))),
    ];
    /// Only `begin` takes over.
    an_outcome_for_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        complete(BOB, Text("b"), Fenced(&Unknown(1))),
    ];
    /// A late copy does not bring back what was given up.
    an_outcome_after_the_release_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        complete(ANN, Text("a"), Fenced(&Nothing)),
        complete(BOB, Text("b"), Fenced(&Nothing)),
        look(Released(ANN, 0)),
    ];
    /// No body, no fields.
    an_outcome_may_be_empty: stored(Content::Empty);
    /// Order, repetitions, bytes that are no text, trailers: a replay is the same answer.
    an_outcome_keeps_fields_trailers_and_bytes_as_they_are: stored(Content::AllFields);
    /// What was to be kept out of logs still is after a replay.
    an_outcome_keeps_the_mark_of_sensitive_fields: stored(Content::Sensitive);
    /// Hundreds of fields, and one of 16 KiB.
    an_outcome_may_have_many_and_large_fields: stored(Content::ManyFields);
    /// Every status that HTTP has room for.
    an_outcome_may_have_the_lowest_status: stored(Content::Status(100));
    /// The same at the other end.
    an_outcome_may_have_the_highest_status: stored(Content::Status(999));
    /// A body is bytes, whatever they mean to a store.
    an_outcome_may_look_like_a_record: stored(Content::Record);
    /// Of a response that could not be kept, the status and the way to it are.
    an_outcome_may_be_a_tombstone: stored(Content::Tombstone);
    /// A tombstone with nothing on it is still not a response.
    a_tombstone_may_be_bare: stored(Content::BareTombstone);
    /// 4 KiB with the record around it.
    an_outcome_may_just_fit_into_a_script: stored(Content::Bytes(4014));
    /// One byte more.
    an_outcome_may_just_not_fit_into_a_script: stored(Content::Bytes(4015));
    /// 300 KiB.
    an_outcome_may_be_large: stored(Content::Bytes(300 << 10));
    /// 4 MiB.
    an_outcome_may_be_very_large: stored(Content::Bytes(4 << 20));
    /// Who is refused learns the outcome, of whatever size.
    a_refusal_tells_a_large_outcome_too: [
        begin(ANN, Started(1)),
        complete(ANN, Content::Bytes(300 << 10), Applied),
        complete(BOB, Text("b"), Fenced(&Completed(Content::Bytes(300 << 10)))),
        complete(ANN, Text("a"), Applied),
        renew(ANN, Fenced(&Completed(Content::Bytes(300 << 10)))),
        release(ANN, No, Fenced(&Completed(Content::Bytes(300 << 10)))),
        resolve(ANN, Text("o"), Fenced(&Completed(Content::Bytes(300 << 10)))),
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
