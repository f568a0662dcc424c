//! The store's own connections. They are made as the caller's pool makes its own, and set up for short
//! statements that commit by themselves; the caller's are left as they are.

pub(super) mod lane;
mod session;

use std::sync::Arc;

use deadpool::managed::{Manager as _, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use deadpool_postgres::tokio_postgres::types::{ToSql, Type};
use deadpool_postgres::tokio_postgres::{Row, Statement};
use futures_util::future::{join3, try_join_all};

use super::error::Failure;
use super::settings::Settings;
use super::statements::{Statements, Verb};
use crate::store::server_clock::{ServerClock, here};

/// Makes connections.
pub(super) struct Source {
    /// The caller's. Only the way in which it connects is used.
    pub(super) pool: deadpool_postgres::Pool,
    pub(super) statements: Statements,
    pub(super) settings: Settings,
    pub(super) clock: ServerClock,
}

/// A connection to the server.
pub(super) struct Connection {
    client: ClientWrapper,
    source: Arc<Source>,
    /// What is prepared on it: all verbs, or nothing behind a pooler.
    prepared: Vec<Statement>,
}

impl Source {
    async fn connect(self: &Arc<Self>) -> Result<Connection, Failure> {
        let client = self.pool.manager().create().await?;
        let sent = here();
        let told =
            session::set_up(&client, self.settings.table.name(), self.settings.pooler).await?;
        self.clock.relearn(told, sent);
        let prepared = match self.settings.pooler {
            true => vec![],
            false => {
                let prepare =
                    |verb: Verb| client.prepare_typed(self.statements.of(verb), verb.types());
                try_join_all(Verb::ALL.map(prepare)).await?
            }
        };
        Ok(Connection { client, source: Arc::clone(self), prepared })
    }
}

impl Connection {
    /// Sends a statement in one round trip. It commits by itself.
    pub(super) async fn query(
        &self,
        verb: Verb,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Failure> {
        let row = match self.prepared.get(verb as usize) {
            Some(statement) => self.client.query(statement, arguments).await?,
            None => {
                let types = verb.types().iter().cloned();
                let typed: Vec<_> = arguments.iter().copied().zip(types).collect();
                self.in_transaction(self.source.statements.of(verb), &typed).await?
            }
        };
        row.into_iter().next().ok_or(Failure::Unusable("the server answers without a row"))
    }

    /// Sends a statement that is not prepared, in one round trip. It commits by itself.
    pub(super) async fn query_typed(
        &self,
        text: &str,
        arguments: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Failure> {
        match self.source.settings.pooler {
            true => self.in_transaction(text, arguments).await,
            false => Ok(self.client.query_typed(text, arguments).await?),
        }
    }

    /// Deletes what has expired between two blocks of the table, and tells how much that was.
    pub(super) async fn purge(&self, from: i64, to: i64) -> Result<u64, Failure> {
        let text = &self.source.statements.purge;
        let typed: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::INT8), (&to, Type::INT8)];
        Ok(self.client.execute_typed(text, &typed).await?)
    }

    /// How many blocks the table has.
    pub(super) async fn blocks(&self) -> Result<i64, Failure> {
        let text = "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint";
        let name = self.source.settings.table.name();
        let typed: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
        let rows = self.client.query_typed(text, &typed).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// A statement with a transaction of its own around it: what a session is set to does not last
    /// behind a pooler. All three go out together.
    async fn in_transaction(
        &self,
        text: &str,
        arguments: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Failure> {
        let (begun, rows, ended) = join3(
            self.client.batch_execute(session::BEGIN),
            self.client.query_typed(text, arguments),
            self.client.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        let rows = rows?;
        ended?;
        Ok(rows)
    }
}

impl deadpool::managed::Manager for lane::Connections {
    type Type = Connection;
    type Error = Failure;

    async fn create(&self) -> Result<Connection, Failure> {
        self.0.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Failure> {
        match connection.client.is_closed() {
            true => Err(RecycleError::message("the connection has ended")),
            false => Ok(()),
        }
    }
}
