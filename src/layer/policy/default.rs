use std::fmt;
use std::time::Duration;

use http::Method;

use super::super::headers::StoredHeaders;
use super::{FingerprintPolicy, InFlight, Policy, Required, Scope, StoreFailure};
use crate::protocol::{Guarantee, KeySyntax};
use crate::store::Writes;

impl Default for Policy {
    fn default() -> Self {
        Self {
            methods: vec![Method::POST, Method::PATCH],
            required: Required::never(),
            key_syntax: KeySyntax::either(),
            key_validator: None,
            scope: Scope::Endpoint,
            route: None,
            fingerprint: FingerprintPolicy::raw(),
            verdict: None,
            guarantee: Guarantee::AtMostOnce,
            lease: Duration::from_secs(30),
            retention: Duration::from_secs(24 * 3600),
            max_run: Duration::from_secs(600),
            max_attempts: 5,
            completion_tries: u32::MAX,
            store_failure: StoreFailure::Refuse,
            in_flight: InFlight::reject(),
            recover: None,
            request_limit: 1 << 20,
            response_limit: 1 << 20,
            buffer_time: Duration::from_secs(5),
            stream_types: [
                "text/event-stream",
                "multipart/x-mixed-replace",
                "application/grpc",
                "application/x-ndjson",
                "application/ndjson",
                "application/jsonl",
                "application/json-seq",
                "application/stream+json",
            ]
            .map(str::to_owned)
            .into(),
            stored_headers: StoredHeaders::default(),
            refused_writes: Writes::Undo,
            transaction_retries: 0,
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("methods", &self.methods)
            .field("scope", &self.scope)
            .field("guarantee", &self.guarantee)
            .field("lease", &self.lease)
            .field("retention", &self.retention)
            .field("max_run", &self.max_run)
            .field("store_failure", &self.store_failure)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
