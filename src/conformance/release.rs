//! `release`: what becomes of a claim that its owner gives back.

use super::steps::*;
use crate::protocol::Scheme;

cases! { "release";
    /// Of a begin that never arrived there is nothing to give back.
    a_release_of_nothing_is_done: [
        release(ANN, No, Applied),
        look(Empty),
    ];
    /// What has expired is given back already.
    a_release_of_what_has_expired_is_done: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        release(ANN, No, Applied),
        look(Empty),
    ];
    /// A repetition does not count twice.
    a_release_can_be_repeated: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
        release(ANN, No, Applied),
        look(Released(ANN, 1)),
    ];
    /// A repetition does not make the tombstone stay longer.
    a_repeated_release_leaves_the_end_of_the_tombstone: [
        begin(ANN, Started(1)),
        (Do::Release(ANN, No, HOUR / 10), Applied),
        release(ANN, No, Applied),
        look(Released(Who { retention: HOUR / 10, ..ANN }, 0)),
    ];
    /// Its owner may give it back late, if nobody was faster.
    a_lapsed_claim_can_be_released: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        release(ANN, Maybe, Applied),
        begin(BOB, Started(2)),
    ];
    /// The tombstone says whose it was.
    a_release_keeps_what_the_request_was: [
        begin(FAY, Started(1)),
        release(FAY, No, Applied),
        look(Released(FAY, 0)),
    ];
    /// The tombstone lives as long as it was told to, not as long as the record would have.
    a_tombstone_has_a_life_of_its_own: [
        begin(Who { retention: HOUR / 10, ..ANN }, Started(1)),
        release(ANN, No, Applied),
        look(Released(ANN, 0)),
    ];
    /// Where a handler may have run, the number of its attempt is kept as long as an outcome would be.
    what_may_have_run_is_remembered_for_the_retention: [
        begin(ANN, Started(1)),
        release_for_a_while(ANN, Maybe),
        look(Released(ANN, 1)),
        wait(),
        look(Released(ANN, 1)),
        begin(BOB, Started(2)),
    ];
    /// The same where it did nothing, but one before it may have.
    an_earlier_attempt_is_remembered_for_the_retention: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        release_for_a_while(BOB, No),
        wait(),
        look(Released(BOB, 1)),
        renew(ANN, Fenced(&Nothing)),
        complete(ANN, Text("late"), Fenced(&Nothing)),
        begin(CAT, Started(2)),
    ];
    /// But never shorter than late copies of its calls may be under way.
    a_tombstone_outlives_a_short_retention: [
        begin(ANN, Started(1)),
        release(ANN.expiring(), Maybe, Applied),
        wait(),
        look(Released(ANN, 1)),
        begin(ANN, Cancelled),
    ];
    /// Then the key is new.
    what_was_released_expires: [
        begin(ANN, Started(1)),
        release_for_a_while(ANN.expiring(), Maybe),
        wait(),
        look(Empty),
        begin(BOB, Started(1)),
    ];
    /// Nobody can free the slot of another.
    a_release_of_a_claim_of_another_is_fenced: [
        begin(ANN, Started(1)),
        release(BOB, No, Fenced(&Busy)),
        release(EVE, No, Fenced(&Mismatch)),
        release(FAY, No, Fenced(&OtherScheme(Made(Scheme::raw)))),
        complete(ANN, Text("a"), Applied),
        release(BOB, No, Fenced(&Completed(Text("a")))),
        release(EVE, No, Fenced(&Mismatch)),
        release(FAY, No, Fenced(&OtherScheme(Made(Scheme::raw)))),
    ];
    /// Not even when it has lapsed.
    a_release_of_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        release(BOB, No, Fenced(&Unknown(1))),
        release(EVE, No, Fenced(&Mismatch)),
    ];
    /// What was released by another is not there any more.
    a_release_of_what_another_released_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        release(BOB, No, Fenced(&Nothing)),
    ];
    /// The old owner does not free the new one's slot.
    a_release_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        release(ANN, Maybe, Fenced(&Busy)),
        begin(BOB, Mine(2)),
    ];
    /// Once it has been given back and claimed again, a late copy frees nothing.
    a_late_copy_of_a_release_does_not_free_the_next_claim: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        begin(BOB, Started(1)),
        release(ANN, No, Fenced(&Busy)),
        begin(CAT, Busy),
    ];
    /// What has an outcome is done, and stays so.
    a_release_after_the_outcome_is_fenced: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        release(ANN, Maybe, Fenced(&Completed(Text("a")))),
        begin(BOB, Completed(Text("a"))),
    ];
}
