use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crate::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

/// How many handlers may run at once, in all and for one tenant. Handlers outlive their connections,
/// so a limit outside the layer does not see them.
#[derive(Default)]
pub(super) struct Rooms {
    all: Option<Arc<Semaphore>>,
    tenants: Option<Tenants>,
}

struct Tenants {
    limit: usize,
    running: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// Room for one handler, given back when it is dropped. Where there is no limit, it takes no memory.
#[derive(Default)]
pub(crate) struct Room(Option<Box<Taken>>);

struct Taken {
    _all: Option<OwnedSemaphorePermit>,
    _tenant: Option<TenantRoom>,
}

struct TenantRoom {
    tenant: Arc<str>,
    running: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

impl Room {
    /// Gives it back.
    pub(crate) fn leave(&mut self) {
        self.0 = None;
    }
}

impl Rooms {
    pub(super) fn new(limit: Option<usize>, per_tenant: Option<usize>) -> Self {
        Self {
            all: limit.map(|limit| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))),
            tenants: per_tenant.map(|limit| Tenants { limit, running: Arc::default() }),
        }
    }

    /// Room for one more of this tenant, if there is any.
    pub(super) fn enter(&self, tenant: &Arc<str>) -> Option<Room> {
        if self.all.is_none() && self.tenants.is_none() {
            return Some(Room::default());
        }
        let all = match &self.all {
            Some(all) => Some(Arc::clone(all).try_acquire_owned().ok()?),
            None => None,
        };
        let tenant = match &self.tenants {
            Some(tenants) => Some(tenants.enter(tenant)?),
            None => None,
        };
        Some(Room(Some(Box::new(Taken { _all: all, _tenant: tenant }))))
    }
}

impl Tenants {
    fn enter(&self, tenant: &Arc<str>) -> Option<TenantRoom> {
        let mut counts = lock(&self.running);
        let count = counts.get(tenant).copied().unwrap_or_default();
        if count >= self.limit {
            return None;
        }
        counts.insert(Arc::clone(tenant), count + 1);
        Some(TenantRoom { tenant: Arc::clone(tenant), running: Arc::clone(&self.running) })
    }
}

impl Drop for TenantRoom {
    fn drop(&mut self) {
        let mut counts = lock(&self.running);
        match counts.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.tenant)),
        }
    }
}

fn lock(counts: &Mutex<HashMap<Arc<str>, usize>>) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room_for_one_and_a_tenant_of_which_nothing_runs_takes_no_memory() {
        let rooms = Rooms::new(None, Some(2));
        let counts = &rooms.tenants.as_ref().expect("a limit").running;
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        for _ in 0..2 {
            let [first, second] = [rooms.enter(&one), rooms.enter(&one)];
            assert!(first.is_some() && second.is_some() && rooms.enter(&one).is_none());
            let elsewhere = rooms.enter(&other);
            assert!(elsewhere.is_some());
            drop(first);
            let third = rooms.enter(&one);
            assert!(third.is_some() && rooms.enter(&one).is_none());
            drop((second, third));
            assert_eq!(lock(counts).len(), 1);
            drop(elsewhere);
            assert_eq!(lock(counts).len(), 0);
        }
    }
}
