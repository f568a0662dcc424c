//! What no order of threads may bring about where requests wait for each other. See `interleavings/`.

mod work;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use super::wait::{Place, Queues, Ticket, Turn, WaiterLimits};
use super::{Answer, Rejection};
use crate::clock::ManualClock;
use crate::protocol::{Fingerprint, Scheme, Slot};
use crate::sync::AtomicUsize;
use crate::sync::explored::{explore, point};

const HOUR: Duration = Duration::from_secs(3600);

fn fingerprint() -> Fingerprint {
    Fingerprint::new(Scheme::raw(), [0; 32])
}

fn queues() -> Arc<Queues> {
    let limits = WaiterLimits { per_key: 9, total: 9 };
    Queues::new(limits, Arc::new(ManualClock::default()))
}

fn join(queues: &Arc<Queues>) -> Place {
    queues.join(Slot::from_bytes([0; 32]), &fingerprint(), HOUR, HOUR)
}

fn answer() -> Answer {
    Answer::Reject(Rejection::KeyReused)
}

fn is_announced(answer: &Answer) -> bool {
    matches!(answer, Answer::Reject(Rejection::KeyReused))
}

/// Counts who holds a ticket, and how often one was had.
#[derive(Default)]
struct Tickets {
    now: AtomicUsize,
    ever: AtomicUsize,
}

impl Tickets {
    /// Asks the store with a ticket; only one may at a time.
    fn ask(&self) -> usize {
        assert_eq!(self.now.fetch_add(1, Ordering::SeqCst), 0, "two ask at once");
        point();
        let earlier = self.ever.fetch_add(1, Ordering::SeqCst);
        self.now.fetch_sub(1, Ordering::SeqCst);
        earlier
    }
}

/// Places that were taken before anybody asks, each in a thread of its own.
fn crowd(queues: &Arc<Queues>, size: usize, each: impl Fn(Place) + Clone + Send + 'static) {
    let places: Vec<_> = (0..size).map(|_| join(queues)).collect();
    let threads: Vec<_> = places
        .into_iter()
        .map(|place| {
            let each = each.clone();
            thread::spawn(move || each(place))
        })
        .collect();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    assert!(queues.is_empty(), "a queue is left behind");
}

fn asked(turn: Turn) -> Option<Ticket> {
    match turn {
        Turn::Ask(ticket) => Some(ticket),
        Turn::Answer(answer) => {
            assert!(is_announced(&answer), "an answer that nobody gave");
            None
        }
    }
}

#[test]
fn one_asks_and_all_have_its_answer() {
    explore(|| {
        let (queues, tickets) = (queues(), Arc::new(Tickets::default()));
        let counted = Arc::clone(&tickets);
        crowd(&queues, 3, move |mut place| {
            if let Some(ticket) = asked(block_on(place.turn())) {
                counted.ask();
                ticket.announce(&answer(), &fingerprint());
            }
        });
        assert_eq!(tickets.ever.load(Ordering::SeqCst), 1, "somebody asked after the answer");
    });
}

#[test]
fn a_ticket_that_is_given_back_passes_to_exactly_one() {
    explore(|| {
        let (queues, tickets) = (queues(), Arc::new(Tickets::default()));
        let counted = Arc::clone(&tickets);
        crowd(&queues, 3, move |mut place| {
            if let Some(ticket) = asked(block_on(place.turn())) {
                match counted.ask() {
                    0 => drop(ticket),
                    _ => ticket.announce(&answer(), &fingerprint()),
                }
            }
        });
        assert_eq!(tickets.ever.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn who_comes_while_the_answer_is_announced_has_it_or_asks_and_waits_for_nobody() {
    explore(|| {
        let (queues, tickets) = (queues(), Arc::new(Tickets::default()));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (queues, tickets) = (Arc::clone(&queues), Arc::clone(&tickets));
                thread::spawn(move || {
                    let mut place = join(&queues);
                    if let Some(ticket) = asked(block_on(place.turn())) {
                        tickets.ever.fetch_add(1, Ordering::SeqCst);
                        ticket.announce(&answer(), &fingerprint());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        assert!(tickets.ever.load(Ordering::SeqCst) >= 1);
        assert!(queues.is_empty(), "a queue is left behind");
    });
}

#[test]
fn who_comes_after_the_answer_asks_anew() {
    explore(|| {
        let queues = queues();
        crowd(&queues, 2, {
            let queues = Arc::clone(&queues);
            move |mut place| {
                let Some(ticket) = asked(block_on(place.turn())) else { return };
                ticket.announce(&answer(), &fingerprint());
                assert!(asked(block_on(join(&queues).turn())).is_some(), "an old answer");
            }
        });
    });
}

#[test]
fn who_leaves_while_waiting_takes_no_ticket_along() {
    explore(|| {
        let (queues, tickets) = (queues(), Arc::new(Tickets::default()));
        let (counted, leavers) = (Arc::clone(&tickets), Arc::new(AtomicUsize::new(1)));
        crowd(&queues, 3, move |mut place| {
            if leavers.fetch_sub(1, Ordering::SeqCst) == 1 {
                // Its client hangs up, wherever it is.
                let mut turn = Box::pin(place.turn());
                let mut context = Context::from_waker(Waker::noop());
                let polled = turn.as_mut().poll(&mut context);
                point();
                return drop(polled);
            }
            leavers.store(0, Ordering::SeqCst);
            if let Some(ticket) = asked(block_on(place.turn())) {
                counted.ask();
                ticket.announce(&answer(), &fingerprint());
            }
        });
        assert_eq!(tickets.ever.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_ticket_in_other_hands_serves_who_is_still_there() {
    explore(|| {
        let queues = queues();
        crowd(&queues, 2, |mut place| {
            let Some(ticket) = asked(block_on(place.turn())) else { return };
            let aside = ticket.step_aside().expect("it has a queue");
            let watch = thread::spawn(move || {
                if let Some(ticket) = aside.ticket() {
                    ticket.announce(&answer(), &fingerprint());
                }
            });
            // Its client has gone; the other one waits or has not come yet.
            drop(place);
            watch.join().expect("it does not panic");
        });
    });
}

#[test]
fn a_ticket_in_other_hands_goes_with_the_last_of_its_queue() {
    explore(|| {
        let queues = queues();
        let places = [join(&queues), join(&queues)];
        let Some(aside) = asked(block_on(join(&queues).turn())).and_then(Ticket::step_aside) else {
            panic!("it is the first")
        };
        let left = aside.left.clone();
        let watch = thread::spawn(move || {
            block_on(left.cancelled());
            assert!(aside.ticket().is_none(), "the queue is gone");
        });
        let leave = places.map(|place| thread::spawn(move || drop(place)));
        for thread in leave.into_iter().chain([watch]) {
            thread.join().expect("it does not panic");
        }
        assert!(queues.is_empty(), "a queue is left behind");
    });
}
