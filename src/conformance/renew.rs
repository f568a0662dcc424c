//! `renew`: whose lease it extends, and whose it does not.

use super::steps::*;
use crate::protocol::Scheme;

cases! { "renew";
    /// A handler that takes its time keeps its claim, and its record.
    a_renewal_extends_the_lease_and_the_retention: [
        begin(Who { lease: HOUR / 10, retention: HOUR / 10, ..ANN }, Started(1)),
        renew(ANN, Applied),
        look(InProgress(ANN, 1)),
    ];
    /// The lease counts from the renewal, also when it ends sooner.
    a_renewal_may_shorten_the_lease: [
        begin(ANN, Started(1)),
        renew(ANN.lapsing(), Applied),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
    ];
    /// A renewal that comes too late is in time if nobody was faster.
    a_renewal_revives_a_lapsed_claim_that_nobody_took: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB, Unknown(1)),
        renew(ANN, Applied),
        begin(BOB.rerunning(), Busy),
    ];
    /// A store that lost the record is told again who runs.
    a_renewal_puts_a_lost_claim_back: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        renew(ANN, Applied),
        look(InProgress(ANN, 1)),
        begin(ANN, Mine(1)),
    ];
    /// What is put back is the same claim: its number and its fence too.
    a_claim_is_put_back_with_its_number: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning().expiring(), Reclaimed(2)),
        wait(),
        renew(BOB, Applied),
        look(InProgress(BOB, 2)),
        begin(BOB, Mine(2)),
    ];
    /// Who put a claim back meanwhile has it.
    a_renewal_of_a_lost_claim_that_another_has_made_is_fenced: [
        begin(ANN.expiring(), Started(1)),
        wait(),
        begin(BOB, Started(1)),
        renew(ANN, Fenced(&Busy)),
    ];
    /// The old owner learns that it has lost.
    a_renewal_after_the_take_over_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        begin(BOB.rerunning(), Reclaimed(2)),
        renew(ANN, Fenced(&Busy)),
        complete(BOB, Text("b"), Applied),
        renew(ANN, Fenced(&Completed(Text("b")))),
    ];
    /// The claim of one request is not another's.
    a_renewal_of_another_request_is_fenced: [
        begin(ANN, Started(1)),
        renew(EVE, Fenced(&Mismatch)),
        renew(FAY, Fenced(&OtherScheme(Made(Scheme::raw)))),
        complete(ANN, Text("a"), Applied),
        renew(EVE, Fenced(&Mismatch)),
        renew(FAY, Fenced(&OtherScheme(Made(Scheme::raw)))),
    ];
    /// Only `begin` takes over.
    a_renewal_of_a_lapsed_claim_of_another_is_fenced: [
        begin(ANN.lapsing(), Started(1)),
        wait(),
        renew(BOB.rerunning(), Fenced(&Unknown(1))),
    ];
    /// A late copy of a renewal does not bring back what was given up.
    a_renewal_after_the_release_is_fenced: [
        begin(ANN, Started(1)),
        release(ANN, Maybe, Applied),
        renew(ANN, Fenced(&Nothing)),
        renew(BOB, Fenced(&Nothing)),
    ];
    /// A late copy of a renewal does not make an outcome undone.
    a_renewal_after_the_outcome_is_fenced: [
        begin(ANN, Started(1)),
        complete(ANN, Text("a"), Applied),
        renew(ANN, Fenced(&Completed(Text("a")))),
    ];
}
