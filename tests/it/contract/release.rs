//! `release`: what becomes of a claim that its owner gives back.

use super::case::run;
use super::harness::{Memory, Redis};
use super::steps::*;

contract! {
    a_release_of_nothing_is_done: [
        release(ANN, No, Applied),
        look(Empty),
    ];
    a_release_can_be_repeated: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        release(ANN, Maybe, Applied),
        look(Released(ANN, 1)),
    ];
    a_lapsed_claim_can_be_released: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        release(ANN, Maybe, Applied),
        begin(BOB, Started(2)),
    ];
    a_release_keeps_what_the_request_was: [
        begin(FAY, Started(1)),
        release(FAY, No, Applied),
        look(Released(FAY, 0)),
    ];
    a_release_of_a_claim_of_another_is_fenced: [
        begin(ANN, Started(1)),
        release(BOB, No, Fenced(&Busy)),
        release(EVE, No, Fenced(&Mismatch)),
        complete(ANN, Text("a"), Applied),
        release(BOB, No, Fenced(&Completed(Text("a")))),
    ];
    a_release_of_what_another_released_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, No, Applied),
        release(BOB, No, Fenced(&Nothing)),
    ];
    a_release_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        release(ANN, Maybe, Fenced(&Busy)),
        begin(BOB, Mine(2)),
    ];
    a_release_after_the_outcome_is_fenced: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        release(ANN, Maybe, Fenced(&Completed(Text("a")))),
        begin(BOB, Completed(Text("a"))),
    ];
}
