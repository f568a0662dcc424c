//! `renew`: whose lease it extends, and whose it does not.

use tower_idempotency::protocol::Scheme;

use super::case::run;
use super::harness::{Memory, Redis};
use super::steps::*;

contract! {
    a_renewal_extends_the_lease_and_the_retention: [
        begin(Who { lease: HOUR / 10, retention: HOUR / 10, ..ANN }, Started(1)),
        renew(ANN, Applied),
        look(InProgress(ANN, 1)),
    ];
    a_renewal_revives_a_lapsed_claim_that_nobody_took: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        renew(ANN, Applied),
        begin(BOB.rerunning(), Busy),
    ];
    a_renewal_puts_a_lost_claim_back: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        renew(ANN, Applied),
        look(InProgress(ANN, 1)),
        begin(ANN, Mine(1)),
    ];
    a_renewal_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        renew(ANN, Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        renew(ANN, Fenced(&Completed(Text("b")))),
    ];
    a_renewal_of_another_request_is_fenced: [
        begin(ANN, Started(1)),
        renew(EVE, Fenced(&Mismatch)),
        renew(FAY, Fenced(&OtherScheme(Scheme::raw))),
    ];
    a_renewal_of_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        renew(BOB.rerunning(), Fenced(&Unknown(1))),
    ];
    a_renewal_after_the_release_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        renew(ANN, Fenced(&Nothing)),
        renew(BOB, Fenced(&Nothing)),
    ];
    a_renewal_after_the_outcome_is_fenced: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        renew(ANN, Fenced(&Completed(Text("a")))),
    ];
}
