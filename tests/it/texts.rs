//! What the settings say of themselves, what they refuse, and where their limits are.

use std::time::Duration;

use http::{Method, Response};
use tower_idempotency::layer::MissingClaim;
use tower_idempotency::{
    FingerprintPolicy, InFlight, InvalidConfig, Policy, Problems, Recovery, Required, Tenant,
    Unresolved,
};

use crate::support::any_store::AnyStore;
use crate::support::app::layer;

#[test]
fn settings_name_themselves_in_debug() {
    let resolved = Tenant::resolve(|_| Err::<String, _>(Unresolved::default()));
    for (text, said) in [
        (format!("{:?}", Required::never()), "Required::never()"),
        (format!("{:?}", Required::always()), "Required::always()"),
        (format!("{:?}", Required::predicate(|_| true)), "Required::predicate(..)"),
        (format!("{:?}", Tenant::single()), "Tenant::single()"),
        (format!("{resolved:?}"), "Tenant::resolve(..)"),
        (format!("{:?}", Recovery::Rerun), "Rerun"),
        (format!("{:?}", Recovery::Response(Response::new("s3cr3t".into()))), "Response(..)"),
        (format!("{:?}", Recovery::StillUnknown), "StillUnknown"),
    ] {
        assert_eq!(text, said);
    }
    let policy = format!("{:?}", Policy::new().lease(Duration::from_secs(7)));
    assert!(policy.starts_with("Policy { methods: [POST, PATCH]"), "{policy}");
    assert!(policy.contains("lease: 7s"), "{policy}");
    let fingerprint = format!("{:?}", FingerprintPolicy::raw());
    assert!(fingerprint.starts_with("FingerprintPolicy(Scheme"), "{fingerprint}");
    let problems = format!("{:?}", Problems::new());
    assert!(problems.starts_with("Problems { base: "), "{problems}");
}

#[test]
fn what_is_wrong_with_settings_is_said() {
    let (retention, lease) = (Duration::from_secs(3), Duration::from_secs(2));
    for (error, text) in [
        (InvalidConfig::SafeMethod(Method::GET), "GET is a safe method and cannot be protected"),
        (
            InvalidConfig::RetentionTooShort { retention, lease },
            "a retention of 3s is shorter than two leases of 2s: a record could be forgotten while \
             its operation still runs",
        ),
        (InvalidConfig::NoTime, "lease, max_run, a wait and the store timeout must not be zero"),
        (InvalidConfig::NoRoom, "max_in_flight must let at least one request run"),
        (InvalidConfig::HeaderName, "at least one valid header name is needed"),
    ] {
        assert_eq!(error.to_string(), text);
    }
    assert!(MissingClaim.to_string().contains("it has no key, or its route has no layer"));
}

#[test]
fn times_that_are_too_short_are_refused_and_the_shortest_are_not() {
    let store = AnyStore::memory();
    let (none, shortest) = (Duration::ZERO, Duration::from_millis(1));
    let build = |policy| layer(&store).policy(policy).build().err();
    let no_time = Some(InvalidConfig::NoTime);
    assert_eq!(build(Policy::new().lease(none)), no_time);
    assert_eq!(build(Policy::new().lease(Duration::from_micros(999))), no_time);
    assert_eq!(build(Policy::new().lease(shortest)), None);
    assert_eq!(build(Policy::new().max_run(none)), no_time);
    assert_eq!(build(Policy::new().in_flight(InFlight::wait(none))), no_time);
    assert_eq!(build(Policy::new().in_flight(InFlight::reject())), None);
    let lease = Duration::from_secs(1);
    assert_eq!(build(Policy::new().lease(lease).retention(lease * 2)), None);
    let retention = Duration::from_millis(1999);
    let too_short = InvalidConfig::RetentionTooShort { retention, lease };
    assert_eq!(build(Policy::new().lease(lease).retention(retention)), Some(too_short));
}
