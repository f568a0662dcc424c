//! `resolve`: what becomes of an abandoned claim that an operator decides.

use super::case::run;
use super::harness::{Memory, Redis};
use super::steps::*;

contract! {
    an_abandoned_claim_can_be_given_an_outcome: [
        begin(FAY.lapsing(), Started(1)),
        wait(),
        resolve(FAY, Content::AllFields, Applied),
        look(Holds(FAY, Content::AllFields)),
        begin(Who { nonce: 6, ..FAY }, Completed(Content::AllFields)),
        begin(ANN, OtherScheme(selecting)),
    ];
    an_abandoned_claim_can_be_given_a_large_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Content::Bytes(300 << 10), Applied),
        begin(BOB, Completed(Content::Bytes(300 << 10))),
    ];
    a_resolved_claim_keeps_that_outcome: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(ANN, Text("operator"), Applied),
        resolve(ANN, Text("again"), Fenced(&Completed(Text("operator")))),
        complete(ANN, Text("late"), Applied),
        begin(BOB, Completed(Text("operator"))),
    ];
    a_live_claim_cannot_be_resolved: [
        begin(ANN, Started(1)),
        resolve(ANN, Text("o"), Fenced(&Busy)),
    ];
    a_claim_is_resolved_by_its_own_fence_only: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        resolve(BOB, Text("o"), Fenced(&Unknown(1))),
    ];
    a_claim_that_was_taken_over_is_not_resolved_by_its_old_fence: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning().lapsing(), Reclaimed(2)),
        wait(),
        resolve(ANN, Text("o"), Fenced(&Unknown(2))),
        resolve(BOB, Text("o"), Applied),
    ];
    what_is_not_there_cannot_be_resolved: [
        resolve(ANN, Text("o"), Fenced(&Nothing)),
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        resolve(ANN, Text("o"), Fenced(&Nothing)),
    ];
}
