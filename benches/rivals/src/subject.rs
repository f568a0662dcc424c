//! Who is measured.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use clap::ValueEnum;
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use ruts::store::SessionStore;
use ruts::{CookieOptions, SessionLayer};
use tower_cookies::CookieManagerLayer;
use tower_idempotency::store::RedisStore;
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Library {
    /// A router without any.
    Bare,
    TowerIdempotency,
    Idempotent,
    AxumIdempotent,
}

impl Library {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no library is hidden");
        value.get_name().to_owned()
    }

    /// What others do not do.
    pub(crate) const fn does_less(self) -> &'static str {
        match self {
            Self::Bare => "nothing of it",
            Self::TowerIdempotency => "",
            Self::Idempotent => {
                "a claim whose process died is claimed again after a minute, so the handler may run \
                 twice; nobody waits for an answer, all but the first are refused; its fingerprint \
                 (xxHash3) can be forged; no Redis Cluster"
            }
            Self::AxumIdempotent => {
                "no claim: requests at once all run; no fingerprint: another body gets the old answer; \
                 its memory store may evict a record; only within a session (each key has one of its own \
                 here, as a session gets slower with its keys)"
            }
        }
    }

    /// How it answers a key that is reused with another body.
    pub(crate) const fn mismatch(self) -> StatusCode {
        match self {
            Self::Bare | Self::AxumIdempotent => StatusCode::OK,
            Self::TowerIdempotency => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Idempotent => StatusCode::BAD_REQUEST,
        }
    }

    /// The router behind this library's layer, on a store like Redis at this address or in memory.
    pub(crate) async fn protect(self, router: Router, redis: Option<&str>) -> Router {
        match (self, redis) {
            (Self::Bare, _) => router,
            (Self::TowerIdempotency, None) => {
                router.layer(IdempotencyLayer::new(MemoryStore::new(), Tenant::single()))
            }
            (Self::TowerIdempotency, Some(url)) => {
                let store = RedisStore::connect(url).expect("a valid address");
                router.layer(IdempotencyLayer::new(store, Tenant::single()))
            }
            (Self::Idempotent, None) => {
                let store = idempotent::memory::MemoryStore::builder().try_build();
                router
                    .layer(idempotent::middleware::IdempotencyLayer::new(store.expect("a runtime")))
            }
            (Self::Idempotent, Some(url)) => {
                let store = idempotent::valkey::ValkeyStore::with_url(url).try_build().await;
                router
                    .layer(idempotent::middleware::IdempotencyLayer::new(store.expect("a server")))
            }
            (Self::AxumIdempotent, None) => {
                // Its default of 10 000 sessions would forget most of what is measured.
                let store = ruts::store::moka::MokaStore::builder().max_capacity(u64::MAX).build();
                in_sessions(router, store)
            }
            (Self::AxumIdempotent, Some(url)) => {
                let config = fred::types::config::Config::from_url(url).expect("a valid address");
                let client = Client::new(config, None, None, None);
                client.init().await.expect("a server");
                let store = ruts::store::redis::RedisStore::new(Arc::new(client)).await;
                in_sessions(router, store.expect("a server"))
            }
        }
    }
}

fn in_sessions<S: SessionStore>(router: Router, store: S) -> Router {
    let options = IdempotentOptions::default()
        .use_idempotency_key_header(None, false)
        .expire_after(i64::try_from(DAY.as_secs()).expect("a day is short"));
    router
        .layer(IdempotentLayer::<S>::new(options))
        .layer(
            SessionLayer::new(Arc::new(store))
                .with_cookie_options(CookieOptions::build().name("session").path("/")),
        )
        .layer(CookieManagerLayer::new())
}

/// Where records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Memory,
    Redis,
    Valkey,
    Postgres,
    /// PostgreSQL, and the handler writes a row: in the transaction of its answer, where there is a
    /// layer.
    PostgresRow,
}

impl StoreKind {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no store is hidden");
        value.get_name().to_owned()
    }
}

/// A library on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rivalry {
    pub(crate) library: Library,
    pub(crate) store: StoreKind,
}

impl Rivalry {
    pub(crate) const BARE: Self = on(Library::Bare, StoreKind::Memory);

    /// `axum-idempotent` needs a command that Redis has since 7.4 only, and Valkey since 9.
    pub(crate) const ALL: [Self; 13] = [
        Self::BARE,
        on(Library::TowerIdempotency, StoreKind::Memory),
        on(Library::Idempotent, StoreKind::Memory),
        on(Library::AxumIdempotent, StoreKind::Memory),
        on(Library::Bare, StoreKind::Redis),
        on(Library::TowerIdempotency, StoreKind::Redis),
        on(Library::Idempotent, StoreKind::Redis),
        on(Library::TowerIdempotency, StoreKind::Valkey),
        on(Library::Idempotent, StoreKind::Valkey),
        on(Library::AxumIdempotent, StoreKind::Valkey),
        on(Library::TowerIdempotency, StoreKind::Postgres),
        on(Library::Bare, StoreKind::PostgresRow),
        on(Library::TowerIdempotency, StoreKind::PostgresRow),
    ];

    /// Whether it does for a mirrored body what it does for a payment.
    pub(crate) fn mirrors(self) -> bool {
        self.store != StoreKind::PostgresRow
            && (self.library != Library::Bare || self == Self::BARE)
    }

    /// The server without a layer that does the same otherwise.
    pub(crate) fn bare(self) -> Self {
        match self.store {
            StoreKind::PostgresRow => on(Library::Bare, self.store),
            _ => Self::BARE,
        }
    }
}

const fn on(library: Library, store: StoreKind) -> Rivalry {
    Rivalry { library, store }
}

impl Display for Rivalry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (library, store) = (self.library.name(), self.store.name());
        if *self == Self::BARE { f.write_str(&library) } else { write!(f, "{library}/{store}") }
    }
}

impl FromStr for Rivalry {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = Self::ALL.map(|rivalry| rivalry.to_string());
        let place = all.iter().position(|known| known == name);
        place.map(|place| Self::ALL[place]).ok_or_else(|| format!("there are {}", all.join(", ")))
    }
}
