//! The end of a record, to the millisecond.

use super::*;
use crate::support::redis::redis;

#[tokio::test]
async fn what_a_look_does_not_see_any_more_no_begin_finds() {
    let store = redis();
    for _ in 0..20 {
        let short = Attempt { retention: Duration::from_millis(20), ..attempt(slot()) };
        let claim = claimed(&store, short.clone()).await;
        complete(&store, &claim, "short").await;
        while store.look(short.slot, WITHIN).await.expect("it is read").record.is_some() {}
        let reply = store.begin(&attempt(short.slot), WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Started(_))), "begin gave {reply:?}");
    }
}
