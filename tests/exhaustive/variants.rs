//! Every variant, and what breaks in it: nothing, except where a promise is not made.

use crate::check::check;
use crate::variant::{AT_LEAST_ONCE, AT_MOST_ONCE, Durable, Fault};

macro_rules! variants {
    ($($(#[$ignore:meta])? $name:ident: $variant:expr => $breaches:expr;)*) => {
        $(#[test]
        $(#[$ignore])?
        fn $name() {
            check($variant.named(stringify!($name)), &$breaches);
        })*
    };
}

const NOTHING: [crate::check::Breach; 0] = [];

variants! {
    at_most_once: AT_MOST_ONCE => NOTHING;
    at_most_once_with_release: AT_MOST_ONCE.release() => NOTHING;
    at_most_once_with_local_deadlines: AT_MOST_ONCE.timed() => NOTHING;
    at_most_once_with_short_leases: AT_MOST_ONCE.short_lease() => NOTHING;
    at_most_once_and_crashes: AT_MOST_ONCE.with(Fault::Crash) => NOTHING;
    at_most_once_and_clients_that_hang_up: AT_MOST_ONCE.with(Fault::HangUp) => NOTHING;
    at_most_once_and_another_body: AT_MOST_ONCE.release().with(Fault::OtherBody).of(2) => NOTHING;
    // A record expires under a worker, which then ends: its last renewal, if that is still under way,
    // puts the claim back.
    at_most_once_and_expiry: AT_MOST_ONCE.release().with(Fault::Expiry).of(2) => [("I19", 13)];
    at_most_once_and_fail_over_of_all: AT_MOST_ONCE.with(Fault::FailOver(Durable::All)) => NOTHING;
    at_most_once_and_fail_over_of_begins:
        AT_MOST_ONCE.with(Fault::FailOver(Durable::Begins)) => [("I10", 9)];
    at_most_once_and_fail_over_of_nothing:
        AT_MOST_ONCE.with(Fault::FailOver(Durable::Nothing)).of(2)
        => [("I4", 7), ("I9", 13), ("I10", 9)];
    at_most_once_and_eviction:
        AT_MOST_ONCE.with(Fault::Eviction).of(2) => [("I4", 7), ("I9", 13), ("I10", 9)];
    at_most_once_and_an_empty_restart:
        AT_MOST_ONCE.with(Fault::Restart) => [("I4", 7), ("I9", 13), ("I10", 9)];
    at_most_once_and_a_clock_set_back:
        AT_MOST_ONCE.release().with(Fault::ClockBack).of(2) => NOTHING;
    // The store's clock can jump, so a lease can lapse while its worker counts it as live.
    at_most_once_and_a_hook_that_decides_early:
        AT_MOST_ONCE.release().with(Fault::Hook).of(2) => NOTHING;
    at_most_once_and_a_hook: AT_MOST_ONCE.release().timed().with(Fault::Hook).of(2) => NOTHING;
    // A copy of `begin` that a store has sent again by itself, and of which it says nothing.
    at_most_once_and_hidden_copies:
        AT_MOST_ONCE.release().with(Fault::HiddenCopies).of(2) => [("I19", 11)];
    at_least_once: AT_LEAST_ONCE.of(2) => NOTHING;
    at_least_once_with_release: AT_LEAST_ONCE.release().of(2) => NOTHING;
    at_least_once_with_local_deadlines: AT_LEAST_ONCE.release().timed().of(2) => NOTHING;
    // A copy of `begin` takes a claim over when its attempt has lost it and been answered.
    at_least_once_with_short_leases: AT_LEAST_ONCE.short_lease().of(2) => [("I19", 15)];
    at_least_once_and_crashes: AT_LEAST_ONCE.with(Fault::Crash).of(2) => NOTHING;
    at_least_once_and_another_body:
        AT_LEAST_ONCE.release().with(Fault::OtherBody).of(2) => NOTHING;
    at_least_once_and_expiry: AT_LEAST_ONCE.with(Fault::Expiry).of(2) => [("I19", 19)];
    at_least_once_and_eviction:
        AT_LEAST_ONCE.with(Fault::Eviction).of(2) => [("I9", 13), ("I10", 9)];
    at_least_once_and_fail_over_of_begins:
        AT_LEAST_ONCE.with(Fault::FailOver(Durable::Begins)).of(2) => [("I9", 15), ("I10", 9)];
    at_least_once_and_a_clock_set_back:
        AT_LEAST_ONCE.release().with(Fault::ClockBack).of(2) => NOTHING;

    in_transactions_at_most_once: AT_MOST_ONCE.in_transactions().of(2) => NOTHING;
    in_transactions_at_least_once: AT_LEAST_ONCE.in_transactions().of(2) => NOTHING;
    in_transactions_and_crashes:
        AT_MOST_ONCE.in_transactions().with(Fault::Crash).of(2) => NOTHING;
    #[ignore = "many seconds"]
    in_transactions_with_local_deadlines: AT_MOST_ONCE.in_transactions().timed().of(2) => NOTHING;
    #[ignore = "many seconds"]
    in_transactions_and_expiry:
        AT_MOST_ONCE.in_transactions().with(Fault::Expiry).of(2) => [("I19", 15)];
    #[ignore = "many seconds"]
    in_transactions_and_a_hook:
        AT_MOST_ONCE.in_transactions().timed().with(Fault::Hook).of(2) => NOTHING;
    #[ignore = "many seconds"]
    in_transactions_and_fail_over_of_all:
        AT_MOST_ONCE.in_transactions().with(Fault::FailOver(Durable::All)).of(2) => NOTHING;
    // What is forgotten is forgotten together: the row and the record.
    #[ignore = "many seconds"]
    in_transactions_and_fail_over_of_nothing:
        AT_MOST_ONCE.in_transactions().with(Fault::FailOver(Durable::Nothing)).of(2)
        => [("I9", 15), ("I10", 10)];

    three_at_most_once_and_another_body: AT_MOST_ONCE.with(Fault::OtherBody) => NOTHING;
    #[ignore = "minutes"]
    three_at_most_once_and_eviction:
        AT_MOST_ONCE.with(Fault::Eviction) => [("I4", 7), ("I9", 13), ("I10", 9)];
    three_at_most_once_and_a_clock_set_back: AT_MOST_ONCE.with(Fault::ClockBack) => NOTHING;
    #[ignore = "minutes"]
    three_at_most_once_and_a_hook: AT_MOST_ONCE.timed().with(Fault::Hook) => NOTHING;
    #[ignore = "minutes"]
    three_at_most_once_and_expiry: AT_MOST_ONCE.with(Fault::Expiry) => [("I19", 20)];
    three_at_least_once: AT_LEAST_ONCE => NOTHING;
    #[ignore = "minutes"]
    three_at_least_once_and_crashes: AT_LEAST_ONCE.with(Fault::Crash) => NOTHING;
}
