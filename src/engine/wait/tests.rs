use super::*;
use crate::clock::SystemClock;
use crate::protocol::Scheme;

const LONG: Duration = Duration::from_secs(60);

fn queues(per_key: usize, total: usize) -> Arc<Queues> {
    Queues::new(WaiterLimits { per_key, total }, Arc::new(SystemClock))
}

fn fingerprint() -> Fingerprint {
    Fingerprint::new(Scheme::raw(), [7; 32])
}

fn join(queues: &Arc<Queues>, slot: u8) -> Place {
    queues.join(Slot::from_bytes([slot; 32]), &fingerprint(), LONG, LONG)
}

async fn ticket(place: &mut Place) -> Ticket {
    match place.turn().await {
        Turn::Ask(ticket) => ticket,
        Turn::Answer(_) => panic!("an answer instead of a turn"),
    }
}

async fn is_refused(place: &mut Place) -> bool {
    let turn = timeout(Duration::from_millis(1), place.turn()).await;
    turn.is_ok_and(|turn| matches!(turn, Turn::Answer(Answer::Reject(_))))
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_answer_asks_anew_and_who_came_before_has_it() {
    let queues = queues(9, 9);
    let (mut first, mut second) = (join(&queues, 1), join(&queues, 1));
    let asked = ticket(&mut first).await;
    asked.announce(&Answer::Reject(Rejection::unavailable()), &fingerprint());
    let mut later = join(&queues, 1);
    let asked = ticket(&mut later).await;
    assert!(matches!(second.turn().await, Turn::Answer(_)));
    // The old queue goes, and leaves the new one where it is.
    drop((first, second));
    assert!(!is_refused(&mut join(&queues, 1)).await, "it waits for the one that asks");
    drop((asked, later));
    assert!(queues.lock().is_empty(), "nobody is left");
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_makes_room_for_another_to_wait() {
    for (per_key, total) in [(1, 9), (9, 1)] {
        let queues = queues(per_key, total);
        let mut first = join(&queues, 1);
        let asked = ticket(&mut first).await;
        for _ in 0..3 {
            let mut waits = join(&queues, 1);
            let waiting = timeout(Duration::from_millis(1), waits.turn()).await;
            assert!(waiting.is_err(), "it waits");
            assert!(is_refused(&mut join(&queues, 1)).await, "there is no room for two");
            drop(waits);
        }
        drop((asked, first));
        assert!(queues.lock().is_empty());
        assert_eq!(queues.waiting.load(Ordering::Relaxed), 0);
    }
}
