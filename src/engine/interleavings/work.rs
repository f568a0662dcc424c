//! The room for work, and the hand-over of work whose client has gone.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread;
use tokio_util::task::TaskTracker;

use crate::engine::room::Rooms;
use crate::engine::supervise::Supervised;
use crate::sync::AtomicUsize;
use crate::sync::explored::{explore, point};

#[test]
fn rooms_hold_what_they_may_and_are_empty_in_the_end() {
    explore(|| {
        let rooms = Arc::new(Rooms::new(Some(2), Some(1)));
        let inside = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (rooms, inside) = (Arc::clone(&rooms), Arc::clone(&inside));
                let tenant: Arc<str> = ["one", "two"][number % 2].into();
                thread::spawn(move || {
                    let Some(room) = rooms.enter(&tenant) else { return };
                    let others = inside[number % 2].fetch_add(1, Ordering::SeqCst);
                    assert_eq!(others, 0, "a tenant has room for one");
                    inside[number % 2].fetch_sub(1, Ordering::SeqCst);
                    drop(room);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        let [one, two] = ["one", "two"].map(Arc::<str>::from);
        let taken = [rooms.enter(&one), rooms.enter(&one), rooms.enter(&two)];
        assert_eq!(taken.map(|room| room.is_some()), [true, false, true]);
    });
}

/// Work of a few steps, which says when it has ended.
async fn work(steps: usize, ended: Arc<AtomicBool>) {
    for _ in 0..steps {
        let mut first = true;
        std::future::poll_fn(|context| {
            point();
            if std::mem::take(&mut first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
    ended.store(true, Ordering::SeqCst);
}

#[test]
fn supervised_work_ends_wherever_it_is_dropped_and_the_drain_ends_with_it() {
    explore(|| {
        let (tracker, ended) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let mut request = Box::pin(Supervised::new(|supervision| {
            let (tracker, work) = (tracker.clone(), work(3, Arc::clone(&ended)));
            async move {
                let _supervising = supervision.begin(&tracker);
                work.await;
            }
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(request.as_mut().poll(&mut context).is_pending());
        tracker.close();
        let drain = thread::spawn({
            let (tracker, ended) = (tracker.clone(), Arc::clone(&ended));
            move || {
                block_on(tracker.wait());
                assert!(ended.load(Ordering::SeqCst), "the drain did not wait for the work");
            }
        });
        // The client hangs up after so many polls.
        let polls = thread_rng().gen_range(0..5);
        for _ in 0..polls {
            if request.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
        drop(request);
        drain.join().expect("it does not panic");
        assert!(tracker.is_empty());
    });
}

#[test]
fn the_drain_ends_with_work_that_panics() {
    explore(|| {
        let tracker = TaskTracker::new();
        let mut request = Box::pin(Supervised::<()>::new(|supervision| {
            let tracker = tracker.clone();
            async move {
                let _supervising = supervision.begin(&tracker);
                point();
                panic::resume_unwind(Box::new("the work"))
            }
        }));
        tracker.close();
        let drain = thread::spawn({
            let tracker = tracker.clone();
            move || block_on(tracker.wait())
        });
        let mut context = Context::from_waker(Waker::noop());
        let polled = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let _ = request.as_mut().poll(&mut context);
        }));
        assert!(polled.is_err());
        point();
        drop(request);
        drain.join().expect("it does not panic");
    });
}
