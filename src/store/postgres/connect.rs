use std::num::NonZeroU32;
use std::sync::Arc;

use deadpool_postgres::tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use deadpool_postgres::tokio_postgres::{self, Config, IsolationLevel, NoTls, Socket};
use deadpool_postgres::{Manager, Pool};

use super::PostgresStore;
use super::connection::Source;
use super::connection::lane::Lane;
use super::listen::Listener;
use super::purge;
use super::settings::Settings;
use super::statements::Statements;
use super::table::{InvalidTable, Table};
use super::watch::Watches;
use crate::store::server_clock::ServerClock;

impl PostgresStore {
    /// A store that connects as this pool does: to its servers, with its user and its TLS.
    ///
    /// The store's connections are its own, beside those that the pool hands out: they are set to
    /// `READ COMMITTED` and prepared once, and your handlers, who may hold all of the pool's, cannot
    /// keep an answer from being stored. There are up to eleven, see [`connections`](Self::connections);
    /// they are made when they are needed.
    ///
    /// ```
    /// use tower_idempotency::store::PostgresStore;
    /// use tower_idempotency::store::postgres::deadpool_postgres::{Manager, Pool};
    /// use tower_idempotency::store::postgres::tokio_postgres::NoTls;
    ///
    /// let manager = Manager::new("postgres://localhost/payments".parse()?, NoTls);
    /// let pool = Pool::builder(manager).build()?;
    /// let store = PostgresStore::new(pool);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self::assemble(pool, Settings::default(), None)
    }

    /// A store at an address, without TLS; with it, make a pool and use [`new`](Self::new). It connects
    /// when it is first used, and [listens](Self::listening).
    ///
    /// ```
    /// use tower_idempotency::store::PostgresStore;
    ///
    /// let store = PostgresStore::connect("postgres://payments@localhost/payments")?;
    /// # Ok::<(), tower_idempotency::store::postgres::tokio_postgres::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the address is not one that `tokio_postgres` understands.
    ///
    /// # Panics
    /// Never: a pool without timeouts can always be built.
    pub fn connect(address: &str) -> Result<Self, tokio_postgres::Error> {
        let config: Config = address.parse()?;
        let pool = Pool::builder(Manager::new(config.clone(), NoTls)).build();
        let pool = pool.expect("without timeouts a pool needs no runtime");
        Ok(Self::new(pool).listening(config, NoTls))
    }

    /// The table of the records, which is `idempotency_records` otherwise. Its name may be preceded by
    /// the name of a schema and a dot, and should be where roles or handlers change `search_path`.
    ///
    /// ```
    /// use tower_idempotency::store::PostgresStore;
    ///
    /// let store = PostgresStore::connect("postgres://localhost/payments")?.table("payment_keys")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// For a name that is not made of lower-case letters, digits and `_` alone, or is too long.
    pub fn table(self, name: &str) -> Result<Self, InvalidTable> {
        let settings = Settings { table: Table::new(name)?, ..self.source.settings.clone() };
        Ok(self.with(settings))
    }

    /// How many connections claims may use at once, and how many renewals, completions and releases
    /// may; 5 each otherwise. A purge has one more, and so has listening.
    ///
    /// A connection does one thing at a time, and most of that is waiting for the disk. Calls that
    /// find none free wait for one as long as they may take.
    #[must_use]
    pub fn connections(self, connections: NonZeroU32) -> Self {
        let connections = usize::try_from(connections.get()).unwrap_or(usize::MAX);
        let settings = Settings { connections, ..self.source.settings.clone() };
        self.with(settings)
    }

    /// For a connection pooler that hands out the server's connections by the transaction, such as
    /// PgBouncer with `pool_mode = transaction`.
    ///
    /// Nothing is prepared then and no session is set up: every call carries its statement and a
    /// transaction of its own around it, still in one round trip. The server plans each statement
    /// anew. [Listening](Self::listening) needs an address that leads past the pooler.
    ///
    /// Handlers' transactions pass it as well, as long as nothing is prepared under a name in them:
    /// `query_typed` and `execute_typed` of `tokio_postgres` prepare nothing, nor do queries of `sqlx`
    /// with `persistent(false)`, whose connections PgBouncer takes only with `extra_float_digits(None)`.
    /// A transaction keeps one of the pooler's connections until it ends, and claims, renewals and
    /// answers need one too, so the pooler must have more than your handlers hold at once.
    #[must_use]
    pub fn behind_pooler(self) -> Self {
        let settings = Settings { pooler: true, ..self.source.settings.clone() };
        self.with(settings)
    }

    /// How far the transactions that handlers are lent are apart from others; `READ COMMITTED`
    /// otherwise, whatever the server's default is.
    ///
    /// Above that, a transaction fails whose record was written since it began, as it fails when others
    /// have written what it wrote: by a renewal, every third of the lease, or by a request that begins to
    /// wait for it. [`Policy::transaction_retries`](crate::Policy::transaction_retries) runs the handler
    /// again then; allow one at least.
    #[must_use]
    pub fn isolation(self, isolation: IsolationLevel) -> Self {
        let settings = Settings { isolation, ..self.source.settings.clone() };
        self.with(settings)
    }

    /// The pool of `sqlx` for handlers that write in a transaction of its with
    /// [`IdempotentSqlxTx`](crate::IdempotentSqlxTx). It has to lead to the database of the records.
    ///
    /// The store itself uses none of its connections. A transaction whose fate is not known is ended
    /// by closing its connection, of which the pool makes another when it needs one.
    ///
    /// ```
    /// use tower_idempotency::store::PostgresStore;
    /// use tower_idempotency::store::postgres::sqlx::PgPool;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let address = "postgres://payments@localhost/payments";
    /// let store = PostgresStore::connect(address)?.sqlx(PgPool::connect_lazy(address)?);
    /// # let _ = store;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "sqlx")]
    #[must_use]
    pub fn sqlx(self, pool: sqlx::PgPool) -> Self {
        let settings = Settings { sqlx: Some(pool), ..self.source.settings.clone() };
        self.with(settings)
    }

    /// Waiting requests learn on a connection of their own that the claim of another process has
    /// ended, one for the whole process, made when somebody first waits. Without it they look now and
    /// then, at last about once a second. A pool does not tell how it connects, so it is said again
    /// here.
    #[must_use]
    pub fn listening<T>(self, config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let listener = Listener::new(config, tls, self.source.settings.table.channel());
        Self { watches: Watches::new(Some(listener)), ..self }
    }

    /// Deletes expired records in the background, as long as the store lives: a few blocks of the table
    /// at a time, this many a second, round and round. A block is 8 KiB, so 100 a second go through
    /// 2.7 GiB an hour. Several servers may do so; they do not wait for each other.
    ///
    /// Expired records count as absent whether they are there or not: what this is for is room.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn purging(self, blocks_per_second: NonZeroU32) -> Self {
        let purging = purge::for_ever(self.upkeep.clone(), blocks_per_second);
        Self { purging: Some(purging), ..self }
    }

    /// The same store with other settings. Nothing is connected yet.
    fn with(self, settings: Settings) -> Self {
        let listener = self.watches.listener;
        Self::assemble(self.source.pool.clone(), settings, listener)
    }

    fn assemble(pool: Pool, settings: Settings, listener: Option<Listener>) -> Self {
        let connections = settings.connections;
        let listener = listener.map(|listener| listener.on(settings.table.channel()));
        let statements = Statements::new(&settings.table);
        let source = Source { pool, settings, statements, clock: ServerClock::new() };
        let source = Arc::new(source);
        Self {
            claims: Lane::new(&source, connections),
            finishes: Lane::new(&source, connections),
            upkeep: Lane::new(&source, 1),
            watches: Watches::new(listener),
            purging: None,
            source,
        }
    }
}
