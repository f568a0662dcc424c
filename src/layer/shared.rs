use std::collections::HashMap;
use std::sync::{Arc, Once};

use http::{HeaderName, HeaderValue, Request, Response};

use super::body::Whole;
use super::policy::Policy;
use super::problem::Problems;
use super::replay::replay;
use super::route;
use super::tenant::Tenant;
use crate::engine::{Answer, Engine, Rejection, RunningClaim};
use crate::protocol::{IdempotencyKey, InvalidKey, Secret, Slot};

/// What all services of one layer share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) tenant: Tenant,
    pub(super) policy: Arc<Policy>,
    pub(super) routes: HashMap<String, Arc<Policy>>,
    pub(super) names: Vec<HeaderName>,
    pub(super) marker: HeaderName,
    pub(super) secret: Option<Secret>,
    pub(super) problems: Problems,
    pub(super) warned: Once,
}

impl Shared {
    /// The policy that applies to a request, if any does.
    pub(super) fn policy_for<B>(&self, request: &Request<B>) -> Option<&Arc<Policy>> {
        let policy = if self.routes.is_empty() {
            &self.policy
        } else {
            let extensions = request.extensions();
            let route = route::template(extensions)
                .unwrap_or_else(|| route::original_uri(extensions, request.uri()).path());
            self.routes.get(route).unwrap_or(&self.policy)
        };
        if !policy.methods.contains(request.method()) {
            return None;
        }
        if request.extensions().get::<RunningClaim>().is_some() {
            self.warned.call_once(|| {
                tracing::warn!(
                    "two idempotency layers around one handler: only the outer one acts"
                );
            });
            return None;
        }
        Some(policy)
    }

    /// The one header line that carries a key.
    pub(super) fn line<'a, B>(
        &self,
        request: &'a Request<B>,
    ) -> Result<Option<&'a HeaderValue>, InvalidKey> {
        let mut found = None;
        for name in &self.names {
            for line in request.headers().get_all(name) {
                if found.replace(line).is_some() {
                    return Err(InvalidKey::Repeated);
                }
            }
        }
        Ok(found)
    }

    pub(super) fn key(line: &HeaderValue, policy: &Policy) -> Result<IdempotencyKey, InvalidKey> {
        let key = IdempotencyKey::parse(line.as_bytes(), &policy.key_syntax)?;
        match &policy.key_validator {
            Some(accepts) if !accepts(key.as_str()) => Err(InvalidKey::Refused),
            _ => Ok(key),
        }
    }
}

impl Shared {
    /// The answer that is not the handler's.
    pub(super) fn answer(&self, slot: Slot, answer: Answer) -> Response<Whole> {
        let replayed = match answer {
            Answer::Replay(outcome, age) => replay(outcome, age, &self.marker),
            Answer::Reject(rejection) => Err(rejection),
        };
        match replayed {
            Ok(response) => {
                tracing::info!(%slot, status = response.status().as_u16(), "replayed");
                response
            }
            Err(rejection) => {
                tracing::info!(%slot, code = rejection.code(), "refused");
                self.problems.response(&rejection).map(Whole::of)
            }
        }
    }

    pub(super) fn refuse(&self, rejection: &Rejection) -> Response<Whole> {
        tracing::debug!(code = rejection.code(), "refused");
        self.problems.response(rejection).map(Whole::of)
    }
}
