//! What a refused request means, by the `code` of its problem document: for the developers of
//! clients.
//!
//! Every refusal is `application/problem+json` (RFC 9457) with `Cache-Control: no-store`:
//!
//! ```json
//! {
//!   "type": "https://docs.rs/tower-idempotency/latest/tower_idempotency/problems/#in-progress",
//!   "title": "The first request is still in progress",
//!   "status": 409,
//!   "detail": "A request with this Idempotency-Key is being processed. …",
//!   "code": "in-progress",
//!   "retryable": true
//! }
//! ```
//!
//! `type`, `title`, `code` and `retryable` are the same for every refusal of one kind; `retryable`
//! says whether to expect another answer to the same request *with the same key*. Where a
//! `Retry-After` header is present, wait that long.
//!
//! # Policy
//!
//! The policy that a service with this layer's defaults can publish, as section 2.5.2 of the
//! [draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/07/) asks:
//!
//! > Send `Idempotency-Key` with POST and PATCH requests: 1 to 255 visible ASCII characters without
//! > quotation mark, comma, semicolon and backslash, new for every operation and the same for every retry
//! > of it; a UUID is a good choice. A key belongs to one endpoint: the same key on another endpoint
//! > names another operation. A key is known for 24 hours after its operation completed. A retry within
//! > that time gets the first response again, marked with `Idempotent-Replayed: true`, and does not run
//! > the operation again. While the first request runs, a retry gets 409 `in-progress`. A key that is
//! > used with another path, query, content type or body gets 422 `key-reused`. Responses with status
//! > 401, 403, 407, 421, 423, 425 and 429, and 503 with `Retry-After`, mean that nothing was executed;
//! > the key can be used again. Two answers need your attention: 409 `result-unavailable`, when the
//! > response was too large to keep, and 409 `outcome-unknown`, when the server was lost in the middle of
//! > the operation; look up its effects before you send it again with a new key. With a key, a body may
//! > have at most 1 MiB.
//!
//! # Codes
//!
//! ## key-missing
//! Status 400. The operation requires a key. Send one.
//!
//! ## key-invalid
//! Status 400. The header holds no key: it is empty or too long, has a character that keys cannot have, is
//! not a valid structured-field string, or there are two of it. Nothing was executed.
//!
//! ## tenant-unresolved
//! Status 400. The service could not tell on whose behalf the request was made. Nothing was executed.
//!
//! ## request-too-large
//! Status 413. With a key, the body may not be that large, since it has to be compared with retries.
//! Nothing was executed.
//!
//! ## request-incomplete
//! Status 400. The body broke off. Nothing was executed; send the request again with the same key.
//!
//! ## key-reused
//! Status 422. The key was used for another request. The stored answer is untouched. Use a new key for a
//! new operation.
//!
//! ## in-progress
//! Status 409. The first request is still running. Retry with the same key after `Retry-After`.
//!
//! ## outcome-unknown
//! Status 409. The process that ran the operation disappeared without leaving an outcome. Nobody knows
//! whether it took effect, so it is not run again. Look up the effects of the operation before
//! sending it with a new key. If the process was only stopped and comes back, the key is answered
//! with its outcome after all. A hook of the service
//! ([`Policy::on_abandoned`](crate::Policy::on_abandoned)) or an operator
//! ([`Store::resolve`](crate::store::Store::resolve)) can settle it.
//!
//! ## result-unavailable
//! Status 409. The operation ran, but its response could not be kept: it was too large, a stream, or too
//! slow. `original_status` is the status of the first response, where it is known; `Location` and
//! `ETag` are those of the first response. The operation is not run again.
//!
//! ## store-unavailable
//! Status 503. The service cannot protect the request at the moment. Retry with the same key.
//!
//! ## too-many-waiters
//! Status 503. Too many requests wait for the response of a first one. Retry with the same key.
//!
//! ## too-many-in-flight
//! Status 503. The service runs as many operations as it may, or as many of this tenant. Nothing was
//! executed. Retry with the same key.
//!
//! ## handler-failed
//! Status 500. The operation failed without a response. If `retryable` is true, a retry with the same key
//! runs it again; if not, this is the stored answer, and nobody knows whether it took effect.
//!
//! ## record-unsupported
//! Status 503. The record of the key was written by a newer release of the service, usually during a
//! deployment. Retry with the same key.
//!
//! ## record-corrupt
//! Status 500. The record of the key cannot be read. The operation is not run again under this key.
