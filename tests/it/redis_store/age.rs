//! How old an outcome is said to be, though a replay does not ask Redis for the time.

use super::*;

#[tokio::test]
async fn a_store_that_knows_nothing_of_the_clock_yet_tells_the_true_age() {
    const AGE: Duration = Duration::from_millis(50);
    let earlier = shared().store();
    for body in ["small", &"large".repeat(1000)] {
        let claim = start(&earlier).await;
        complete(&earlier, &claim, body).await;
        tokio::time::sleep(AGE).await;
        let reply = shared().store().begin(&attempt(claim.attempt().slot), WITHIN).await;
        let Ok(Reply::Found(Found::Completed { outcome, age })) = reply else {
            panic!("begin gave {reply:?}")
        };
        assert_eq!(outcome, response(body));
        assert!((AGE..AGE + WITHIN).contains(&age), "{age:?}");
    }
}
