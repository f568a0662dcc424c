use deadpool_postgres::PoolError;
use deadpool_postgres::tokio_postgres::IsolationLevel;

use super::PostgresStore;
use super::error::Failure;
use super::table::{DEFAULT, Table};
use crate::store::{Effect, Error, ErrorKind, Operation};

/// What makes the schema, in order: the first makes version 1. Each may add only what an older release
/// can live with, since during a deployment both run.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

/// What the comment on the table begins with.
const MARK: &str = "tower-idempotency schema ";

impl PostgresStore {
    /// Creates the table, or brings it up to what this release needs. It does nothing where nothing
    /// is to be done. Any number of servers may do it at once: one works while the others wait.
    ///
    /// It takes a connection of the pool that the store was made of, whose role must have the right
    /// to create tables. The store needs no such right otherwise, so a program can migrate with one
    /// role and serve with another; [the module](crate::store::postgres) has the rights of the one that serves.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut client = self.source.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(Effect::None)(error.into()),
            error => {
                Error::new(ErrorKind::TimedOut, Operation::Migrate, Effect::None).with_source(error)
            }
        })?;
        let name = self.source.settings.table.name();
        let migrate = async {
            let isolation = IsolationLevel::ReadCommitted;
            let transaction = client.build_transaction().isolation_level(isolation).start().await?;
            let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
            transaction.execute(lock, &[&format!("{MARK}{name}")]).await?;
            let there = "SELECT obj_description(to_regclass($1), 'pg_class')";
            let row = transaction.query_one(there, &[&name]).await?;
            let done = version(row.try_get(0)?).unwrap_or(0);
            for text in migrations(&self.source.settings.table).skip(done) {
                transaction.batch_execute(&text).await?;
            }
            transaction.commit().await
        };
        migrate.await.map_err(|error| failed(Effect::Unknown)(error.into()))
    }

    /// The migrations as SQL for the table of this store, in order, one text for each version: for a
    /// tool of your own. To apply one twice does no harm. The files themselves, for the default name,
    /// are in `src/store/postgres/migrations`.
    pub fn migrations(&self) -> impl Iterator<Item = String> {
        migrations(&self.source.settings.table)
    }
}

fn migrations(table: &Table) -> impl Iterator<Item = String> {
    let name = table.name().to_owned();
    MIGRATIONS.iter().map(move |text| text.replace(DEFAULT, &name))
}

fn failed(effect: Effect) -> impl Fn(Failure) -> Error {
    move |failure| {
        let effect = if failure.is_answer() { Effect::None } else { effect };
        Error::new(failure.kind(), Operation::Migrate, effect).with_source(failure.cause())
    }
}

/// The version in the comment on a table.
fn version(comment: Option<&str>) -> Option<usize> {
    comment?.strip_prefix(MARK)?.parse().ok()
}

/// Refuses a table that lacks what this release needs. A newer one has more than that.
pub(super) fn require(comment: Option<&str>) -> Result<(), Failure> {
    match version(comment) {
        Some(version) if version >= MIGRATIONS.len() => Ok(()),
        Some(_) => Err(Failure::Unusable(
            "the schema is of an older release: run PostgresStore::migrate or the migrations",
        )),
        None => Err(Failure::Unusable(
            "the comment on the table names no schema: run PostgresStore::migrate or the migrations",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_migration_names_the_version_that_is_required() {
        let last = MIGRATIONS.last().expect("a migration");
        assert!(last.contains(&format!("'{MARK}{}'", MIGRATIONS.len())));
    }

    #[test]
    fn an_older_schema_and_none_are_refused_and_a_newer_one_is_not() {
        let now = MIGRATIONS.len();
        let comment = |version: usize| format!("{MARK}{version}");
        assert!(require(Some(&comment(now))).is_ok());
        assert!(require(Some(&comment(now + 1))).is_ok());
        for comment in [None, Some("ours"), Some(comment(now - 1).as_str())] {
            assert!(require(comment).is_err(), "{comment:?}");
        }
    }
}
