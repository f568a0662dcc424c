use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, Response, StatusCode};

/// Who asks. Keys of one tenant never meet the keys of another.
///
/// There is no default: a service with many users that forgot to tell them apart would answer one
/// user with another's response. A single tenant has to be spelled out.
///
/// The resolver runs before the body is read and sees what outer layers have put into the request,
/// so authentication belongs outside this layer.
///
/// ```
/// use tower_idempotency::Tenant;
///
/// #[derive(Clone)]
/// struct Account(String);
///
/// let _one = Tenant::single();
/// let _by_header = Tenant::header("x-tenant");
/// let _by_login = Tenant::extension(|account: &Account| account.0.clone());
/// ```
#[derive(Clone)]
pub struct Tenant(Resolver);

type Resolve = dyn Fn(&Parts) -> Result<Arc<str>, Unresolved> + Send + Sync;

#[derive(Clone)]
enum Resolver {
    Single(Arc<str>),
    By(Arc<Resolve>),
}

impl Tenant {
    /// Everybody is one tenant: right only where all clients may see each other's responses, or
    /// where keys cannot be guessed.
    #[must_use]
    pub fn single() -> Self {
        Self(Resolver::Single("".into()))
    }

    /// The value of a header, which an outer layer or a gateway must have checked. Without it, with
    /// an empty one or with two of them, the request is refused.
    ///
    /// # Panics
    /// If `name` is not a header name.
    #[must_use]
    pub fn header(name: &'static str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a valid header name");
        Self::resolve(move |parts| {
            let mut values = parts.headers.get_all(&name).iter();
            match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
                (Some(tenant), None) if !tenant.is_empty() => Ok(tenant.to_owned()),
                _ => Err(Unresolved::default()),
            }
        })
    }

    /// What `name` makes of an extension that an outer layer has put into the request. Without the
    /// extension the request is refused.
    #[must_use]
    pub fn extension<T, N>(name: N) -> Self
    where
        T: Clone + Send + Sync + 'static,
        N: Fn(&T) -> String + Send + Sync + 'static,
    {
        Self::resolve(move |parts| {
            parts.extensions.get::<T>().map(&name).ok_or_else(Unresolved::default)
        })
    }

    /// What a closure makes of the request's head; its error is the answer to the client.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_idempotency::{Tenant, Unresolved};
    ///
    /// let _by_host = Tenant::resolve(|parts| match parts.uri.host() {
    ///     Some(host) => Ok(host.to_owned()),
    ///     None => Err(Unresolved::status(StatusCode::MISDIRECTED_REQUEST)),
    /// });
    /// ```
    #[must_use]
    pub fn resolve<F>(resolver: F) -> Self
    where
        F: Fn(&Parts) -> Result<String, Unresolved> + Send + Sync + 'static,
    {
        Self(Resolver::By(Arc::new(move |parts| resolver(parts).map(Into::into))))
    }

    pub(super) fn of(&self, parts: &Parts) -> Result<Arc<str>, Unresolved> {
        match &self.0 {
            Resolver::Single(tenant) => Ok(Arc::clone(tenant)),
            Resolver::By(resolve) => resolve(parts),
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Resolver::Single(_) => "Tenant::single()",
            Resolver::By(_) => "Tenant::resolve(..)",
        })
    }
}

/// The answer to a request whose tenant is unknown. By default a 400 problem with the code
/// `tenant-unresolved`.
#[derive(Debug, Default)]
pub struct Unresolved(pub(super) Option<Box<Response<String>>>);

impl Unresolved {
    /// An empty response with this status.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        Self::response(response)
    }

    /// This response.
    #[must_use]
    pub fn response(response: Response<String>) -> Self {
        Self(Some(Box::new(response)))
    }
}
