use std::time::Duration;

use rand::RngExt as _;

use super::{Error, Seen, Store};
use crate::protocol::{FenceToken, Slot};

/// How long one look may take.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// The first and the longest pause between two looks.
pub(super) const FIRST: Duration = Duration::from_millis(25);
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// [`Store::watch`] for a store that nothing tells of changes: it looks now and then, first after
/// about 25 ms, then less and less often, at last about once a second. The pauses are random by a
/// quarter, so that many servers do not look at the same moment.
///
/// # Errors
/// If the last look failed; and at once if one failed because of the record or the call, which another
/// look does not mend.
pub async fn poll(
    store: &impl Store,
    slot: Slot,
    fence: FenceToken,
    within: Duration,
) -> Result<Seen, Error> {
    let mut pause = FIRST;
    let mut left = within;
    loop {
        let seen = store.look(slot, LOOK.min(within)).await;
        let lease = match &seen {
            Ok(seen) => seen.running(fence),
            Err(error) => error.is_passing().then_some(Duration::MAX),
        };
        let Some(lease) = lease.filter(|_| !left.is_zero()) else { return seen };
        let nap = jittered(pause).min(lease).min(left);
        tokio::time::sleep(nap).await;
        left -= nap;
        pause = (pause * 2).min(LONGEST);
    }
}

/// A pause that is longer or shorter by up to a quarter.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}
