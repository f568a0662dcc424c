//! `look`: what it tells of each phase. And that a slot is one slot.

use super::steps::*;

cases! { "look";
    /// Looking does not claim.
    nothing_is_seen_as_nothing: [
        look(Empty),
        look(Empty),
        begin(ANN, Started(1)),
    ];
    /// Who runs, under which number and fence, and until when.
    a_claim_is_seen_whole: [
        begin(FAY, Started(1)),
        look(InProgress(FAY, 1)),
        begin(Who { nonce: 8, ..FAY }, Busy),
    ];
    /// A claim whose lease has lapsed is still there, and looking leaves it there.
    an_abandoned_claim_is_seen: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        look(Abandoned(ANN.lapsing(), 1)),
        look(Abandoned(ANN.lapsing(), 1)),
        begin(BOB, Unknown(1)),
    ];
    /// Who runs after a take-over is the new one, under its number.
    a_claim_that_was_taken_over_is_seen_as_the_new_one: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.at_most(2).lapsing(), Reclaimed(2)),
        wait(),
        look(Abandoned(BOB.lapsing(), 2)),
    ];
    /// A completed record is told with its outcome.
    an_outcome_is_seen_whole: [
        begin(FAY, Started(1)),
        complete(FAY, Content::AllFields, Applied),
        look(Holds(FAY, Content::AllFields)),
    ];
    /// A tombstone is told as one: it is not nothing.
    a_tombstone_is_seen: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
        look(Released(ANN, 1)),
    ];
    /// What has expired is never told, whatever it was.
    what_has_expired_is_not_seen: [
        begin(ANN.expiring(), Started(1)),
        begin(ANN.off_at(0), Started(1)),
        complete(ANN.off_at(0).expiring(), Text("a"), Applied),
        begin(ANN.off_at(31), Started(1)),
        (Do::Release(ANN.off_at(31), No, SHORT), Applied),
        wait(),
        look(Empty),
        look_off_at(0, Empty),
        look_off_at(31, Empty),
    ];
    /// Slots that differ in one bit, at whichever end, are different slots.
    slots_that_differ_in_one_bit_do_not_mix: [
        begin(ANN, Started(1)),
        complete(ANN, Text("here"), Applied),
        look_off_at(0, Empty),
        look_off_at(7, Empty),
        look_off_at(8, Empty),
        look_off_at(16, Empty),
        look_off_at(31, Empty),
        begin(EVE.off_at(0), Started(1)),
        begin(BOB.off_at(16), Started(1)),
        begin(BOB.off_at(31), Started(1)),
        complete(BOB.off_at(31), Text("there"), Applied),
        begin(CAT, Completed(Text("here"))),
        begin(CAT.off_at(31), Completed(Text("there"))),
        look_off_at(0, InProgress(EVE.off_at(0), 1)),
        look_off_at(16, InProgress(BOB.off_at(16), 1)),
    ];
    /// What happens to one slot leaves its neighbours alone.
    a_neighbour_is_not_touched: [
        begin(ANN, Started(1)),
        begin(ANN.off_at(31), Started(1)),
        renew(ANN.lapsing(), Applied),
        wait(),
        look_off_at(31, InProgress(ANN.off_at(31), 1)),
        begin(BOB.rerunning(), Reclaimed(2)),
        release(BOB, No, Applied),
        look_off_at(31, InProgress(ANN.off_at(31), 1)),
        begin(BOB.off_at(31), Busy),
        complete(ANN.off_at(31), Text("there"), Applied),
        look(Released(BOB, 1)),
    ];
}
