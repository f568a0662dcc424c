use deadpool_postgres::tokio_postgres::IsolationLevel;

use super::table::Table;

/// What a store can be told.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) table: Table,
    /// How many connections there are for claims, and how many for finishing.
    pub(super) connections: usize,
    /// Whether between here and the server is a pooler that hands out its connections by the
    /// transaction.
    pub(super) pooler: bool,
    /// Of the transactions that handlers are lent.
    pub(super) isolation: IsolationLevel,
    /// Where handlers' transactions of `sqlx` get their connections.
    #[cfg(feature = "sqlx")]
    pub(super) sqlx: Option<sqlx::PgPool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            table: Table::default(),
            connections: 5,
            pooler: false,
            isolation: IsolationLevel::ReadCommitted,
            #[cfg(feature = "sqlx")]
            sqlx: None,
        }
    }
}
