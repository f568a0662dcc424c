//! Locks, atomics and tasks of the code whose interleavings are explored.
//!
//! Tests that are built with `--cfg shuttle` put in their place what a scheduler of their own decides
//! about, and so run one test in many orders. `interleavings/` has the command.

#[cfg(all(test, shuttle))]
pub(crate) mod explored;

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, AtomicUsize},
};

#[cfg(not(all(test, shuttle)))]
pub(crate) use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified},
    time::timeout,
};

#[cfg(all(test, shuttle))]
pub(crate) use self::explored::{
    AtomicU32, AtomicU64, AtomicUsize, Handle, Mutex, MutexGuard, Notified, Notify,
    OwnedSemaphorePermit, Semaphore, timeout,
};
