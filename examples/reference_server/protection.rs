//! From the command line to the layer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tower_idempotency::{
    IdempotencyLayer, Policy, Recovery, Required, StoreFailure, Tenant, Unresolved,
};

use crate::executions::Executions;
use crate::options::{OnAbandoned, Options};
use crate::stores;

/// The lease of a policy that is not given another.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

pub(crate) async fn layer(
    options: &Options,
    executions: &Arc<Executions>,
) -> Result<IdempotencyLayer, Box<dyn Error>> {
    let policy = match options.on_abandoned {
        None => policy(options),
        Some(answer) => recovering(policy(options), answer, executions),
    };
    let mut builder = stores::builder(options, tenant()).await?.policy(policy);
    if let Some((per_key, total)) = options.max_waiters {
        builder = builder.max_waiters(per_key, total);
    }
    if let Some(limit) = options.max_in_flight {
        builder = builder.max_in_flight(limit);
    }
    if let Some(limit) = options.max_in_flight_per_tenant {
        builder = builder.max_in_flight_per_tenant(limit);
    }
    if let Some(timeout) = options.store_timeout_ms {
        builder = builder.store_timeout(timeout);
    }
    Ok(builder.build()?)
}

/// The header `X-Tenant`, and one tenant for all requests without it.
fn tenant() -> Tenant {
    Tenant::resolve(|parts| match parts.headers.get("x-tenant") {
        None => Ok("default".to_owned()),
        Some(name) => name.to_str().map(str::to_owned).map_err(|_| Unresolved::default()),
    })
}

/// The policy with a hook that always finds out the same.
fn recovering(policy: Policy, answer: OnAbandoned, executions: &Arc<Executions>) -> Policy {
    let executions = Arc::clone(executions);
    policy.on_abandoned(move |abandoned| {
        let (tenant, key) = (abandoned.tenant(), abandoned.key().as_str());
        executions.note_abandoned(tenant, key, abandoned.attempt());
        std::future::ready(match answer {
            OnAbandoned::Rerun => Recovery::Rerun,
            OnAbandoned::StillUnknown => Recovery::StillUnknown,
            OnAbandoned::Respond => {
                Recovery::Response(Response::new(r#"{"recovered":true}"#.into()))
            }
        })
    })
}

fn policy(options: &Options) -> Policy {
    let mut policy = Policy::new()
        .in_flight(options.in_flight)
        .methods(options.methods.iter().cloned())
        .guarantee(options.guarantee())
        .scope(options.scope())
        .fingerprint(options.fingerprint.clone());
    if options.require_key {
        policy = policy.required(Required::always());
    }
    if options.fail_open {
        policy = policy.store_failure(StoreFailure::RunUnprotected);
    }
    if let Some(retention) = options.retention_ms {
        policy = policy.retention(retention);
        if retention < DEFAULT_LEASE * 2 {
            policy = policy.lease(retention / 4);
        }
    }
    if let Some(lease) = options.lease_ms {
        policy = policy.lease(lease);
    }
    if let Some(attempts) = options.max_attempts {
        policy = policy.max_attempts(attempts);
    }
    if let Some(limit) = options.max_request_bytes {
        policy = policy.request_limit(limit);
    }
    if let Some(limit) = options.max_response_bytes {
        policy = policy.response_limit(limit);
    }
    policy
}
