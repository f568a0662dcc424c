use std::num::NonZeroU32;
use std::time::Duration;

use rand::RngExt as _;
use tokio_util::task::AbortOnDropHandle;

use super::PostgresStore;
use super::connection::lane::Lane;
use super::error::Failure;
use crate::store::{Effect, Error, Operation};

/// How many blocks of the table a step goes through. At worst they are full of expired records, some
/// fifty in each, and their deletion takes tens of milliseconds.
const STEP: u32 = 128;

/// How long the background waits after an error.
const AFTER_ERROR: Duration = Duration::from_secs(10);

impl PostgresStore {
    /// Deletes what has expired, and tells how many records that were. It goes through the whole table
    /// once, in steps that last a moment each, so it may be dropped at any time. Nothing is locked that
    /// anybody waits for: records in use are passed over, and whether one has expired is looked at by
    /// the statement that deletes it.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses. What was deleted until then stays deleted.
    pub async fn purge(&self) -> Result<u64, Error> {
        let purge = async {
            let blocks = blocks(&self.upkeep).await?;
            let mut purged = 0;
            for from in (0..blocks).step_by(STEP as usize) {
                purged += step(&self.upkeep, from).await?;
            }
            Ok(purged)
        };
        purge.await.map_err(|failure: Failure| {
            let error = Error::new(failure.kind(), Operation::Purge, Effect::Unknown);
            error.with_source(failure.cause())
        })
    }
}

/// Goes round and round in the background, until the handle is dropped.
pub(super) fn for_ever(lane: Lane, blocks_per_second: NonZeroU32) -> AbortOnDropHandle<()> {
    let pause = Duration::from_secs(u64::from(STEP)) / blocks_per_second.get();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            if let Err(failure) = round(&lane, pause).await {
                let error = failure.cause();
                tracing::warn!(%error, "expired records cannot be purged");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }))
}

/// Once through the table, from anywhere on, so that servers which were started together do not go
/// together.
async fn round(lane: &Lane, pause: Duration) -> Result<(), Failure> {
    let blocks = blocks(lane).await?;
    let steps = blocks / i64::from(STEP) + 1;
    let first = rand::rng().random_range(0..steps);
    for number in 0..steps {
        tokio::time::sleep(pause).await;
        step(lane, (first + number) % steps * i64::from(STEP)).await?;
    }
    Ok(())
}

async fn blocks(lane: &Lane) -> Result<i64, Failure> {
    let connection = lane.connection().await?;
    let blocks = connection.blocks().await?;
    connection.give_back();
    Ok(blocks)
}

async fn step(lane: &Lane, from: i64) -> Result<u64, Failure> {
    let connection = lane.connection().await?;
    let purged = connection.purge(from, from + i64::from(STEP)).await?;
    connection.give_back();
    Ok(purged)
}
