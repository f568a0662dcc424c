use std::ops::Deref;
use std::sync::Arc;

use deadpool::managed::{Object, Pool, PoolError};

use super::{Connection, Source};
use crate::store::postgres::error::{Cure, Failure};

/// A number of connections, which are made when they are needed and which nobody else uses.
#[derive(Clone)]
pub(in crate::store::postgres) struct Lane(Pool<Connections>);

/// What fills a lane.
pub(in crate::store::postgres) struct Connections(pub(super) Arc<Source>);

/// A connection for one call. Unless it is given back, it is closed: what was sent on it may not have
/// been answered.
pub(in crate::store::postgres) struct Lent(Option<Object<Connections>>);

impl Lane {
    pub(in crate::store::postgres) fn new(source: &Arc<Source>, connections: usize) -> Self {
        let pool = Pool::builder(Connections(Arc::clone(source))).max_size(connections.max(1));
        Self(pool.build().expect("without timeouts a pool needs no runtime"))
    }

    /// Waits for a connection, and makes it if there is none.
    pub(in crate::store::postgres) async fn connection(&self) -> Result<Lent, Failure> {
        match self.0.get().await {
            Ok(connection) => Ok(Lent(Some(connection))),
            Err(PoolError::Backend(failure)) => Err(failure),
            // It is never closed, and has neither timeouts nor hooks.
            Err(_) => Err(Failure::Unusable("the pool is of no use")),
        }
    }

    /// Leaves a connection on which this came if it is of no use any more, and tells whether the call
    /// may be repeated.
    pub(in crate::store::postgres) fn mend(&self, connection: Lent, failure: &Failure) -> bool {
        match failure.cure() {
            Cure::Nothing => connection.give_back(),
            Cure::FindPrimary => self.close_idle(),
            Cure::Reconnect => return true,
            Cure::Repeat => {
                connection.give_back();
                return true;
            }
        }
        false
    }

    /// Closes the connections that nobody uses right now.
    pub(in crate::store::postgres) fn close_idle(&self) {
        self.0.retain(|_, _| false);
    }
}

impl Lent {
    /// The connection is as it was: nothing is under way on it.
    pub(in crate::store::postgres) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("it is lent until it is given back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}
