//! `resolve`: what becomes of an abandoned claim that an operator decides.

use super::steps::*;

cases! { "resolve";
    /// What is decided is replayed like any outcome, and the record is still of its request.
    an_abandoned_claim_can_be_given_an_outcome: [
        begin(FAY.lapsing(), Started(1)),
        wait(),
        resolve(FAY, Content::AllFields, Applied),
        look(Resolved(FAY, Content::AllFields)),
        begin(Who { nonce: 8, ..FAY }, Completed(Content::AllFields)),
        begin(ANN, OtherScheme(Made(selecting))),
    ];
    /// The same with 300 KiB.
    an_abandoned_claim_can_be_given_a_large_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Content::Bytes(300 << 10), Applied),
        begin(BOB, Completed(Content::Bytes(300 << 10))),
    ];
    /// The same with what says only that it ran.
    an_abandoned_claim_can_be_given_a_tombstone: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Content::Tombstone, Applied),
        begin(BOB, Completed(Content::Tombstone)),
        begin(EVE, Mismatch),
    ];
    /// The number of the attempt is kept.
    a_claim_that_was_taken_over_can_be_given_an_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning().lapsing(), Reclaimed(2)),
        wait(),
        resolve(BOB, Text("o"), Applied),
        look(Resolved(BOB, Text("o"))),
    ];
    /// The retention is the operator's.
    a_resolved_claim_expires: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve_for_a_while(ANN, Text("o")),
        wait(),
        look(Empty),
        begin(BOB, Started(1)),
    ];
    /// What was decided stands, also against the worker that comes back.
    a_resolved_claim_keeps_that_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Text("operator"), Applied),
        resolve(ANN, Text("again"), Fenced(&Completed(Text("operator")))),
        begin(BOB, Completed(Text("operator"))),
        renew(ANN, Fenced(&Completed(Text("operator")))),
        release(ANN, Maybe, Fenced(&Completed(Text("operator")))),
        begin(ANN, Completed(Text("operator"))),
    ];
    /// Its worker must not take it for its own, or it would answer otherwise than everybody else.
    a_resolved_claim_is_its_workers_no_more: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Text("operator"), Applied),
        complete(ANN, Text("late"), Fenced(&Completed(Text("operator")))),
        complete(ANN, Text("operator"), Fenced(&Completed(Text("operator")))),
        look(Resolved(ANN, Text("operator"))),
    ];
    /// The same of an outcome that is not handed through a script.
    a_large_resolved_claim_is_its_workers_no_more: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Content::Bytes(300 << 10), Applied),
        complete(ANN, Text("late"), Fenced(&Completed(Content::Bytes(300 << 10)))),
        begin(BOB, Completed(Content::Bytes(300 << 10))),
    ];
    /// Who may still be running is not decided about.
    a_live_claim_cannot_be_resolved: [
        begin(ANN, Started(1)),
        resolve(ANN, Text("o"), Fenced(&Busy)),
    ];
    /// Nor who has come back.
    a_claim_that_was_renewed_cannot_be_resolved: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        renew(ANN, Applied),
        resolve(ANN, Text("o"), Fenced(&Busy)),
    ];
    /// Nor who has taken it over.
    a_claim_that_another_has_taken_over_cannot_be_resolved: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        resolve(ANN, Text("o"), Fenced(&Busy)),
        resolve(BOB, Text("o"), Fenced(&Busy)),
    ];
    /// Another claim than the one that was looked at is not touched.
    a_claim_is_resolved_by_its_own_fence_only: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(BOB, Text("o"), Fenced(&Unknown(1))),
    ];
    /// A fence says which run was meant, of several that died.
    a_claim_that_was_taken_over_is_not_resolved_by_its_old_fence: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning().lapsing(), Reclaimed(2)),
        wait(),
        resolve(ANN, Text("o"), Fenced(&Unknown(2))),
        resolve(BOB, Text("o"), Applied),
    ];
    /// An outcome is not decided about a second time.
    a_completed_claim_cannot_be_resolved: [
        begin(ANN.lapsing(), Started(1)),
        complete(ANN, Text("a"), Applied),
        wait(),
        resolve(ANN, Text("o"), Fenced(&Completed(Text("a")))),
    ];
    /// Absent, expired or given back: nothing was abandoned.
    what_is_not_there_cannot_be_resolved: [
        resolve(ANN, Text("o"), Fenced(&Nothing)),
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        resolve(ANN, Text("o"), Fenced(&Nothing)),
    ];
    /// The same when it has expired.
    what_has_expired_cannot_be_resolved: [
        begin(ANN.lapsing().expiring(), Started(1)),
        wait(),
        resolve(ANN, Text("o"), Fenced(&Nothing)),
        look(Empty),
    ];
}
