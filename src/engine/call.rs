use std::fmt;
use std::time::Duration;

use super::Engine;
use crate::protocol::Reply;
use crate::store::{Effect, Error, ErrorKind, Operation};
use crate::within::{Elapsed, within};

/// The first pause before a store call is repeated; it doubles from there.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How much longer than it was given a store may take to say that it could not tell.
pub(super) const GRACE: Duration = Duration::from_millis(50);

/// The last answer to a repeated call, and whether a copy of it may still be under way.
pub(super) struct Call {
    /// When its first copy was sent, on the local clock.
    pub(super) sent: Duration,
    pub(super) result: Result<Reply, Error>,
    pub(super) lost: bool,
}

impl Engine {
    /// Calls a verb, repeating it while the store may still answer in this time. The nonce makes the
    /// repeats harmless.
    #[expect(clippy::manual_async_fn, reason = "an async function keeps its arguments twice")]
    pub(super) fn repeat<'a, F>(
        &'a self,
        verb: Operation,
        time: Duration,
        call: impl Fn(Duration) -> F + Send + 'a,
    ) -> impl Future<Output = Call> + Send + 'a
    where
        F: Future<Output = Result<Reply, Error>> + Send + 'a,
    {
        async move {
            let sent = self.clock.monotonic();
            let mut left = time;
            let mut pause = FIRST_PAUSE;
            let mut lost = false;
            loop {
                // A store ends its calls itself, and knows more about them when it does.
                let result = match within(left.saturating_add(GRACE), call(left)).await {
                    Ok(result) => result,
                    Err(Elapsed) => Err(Error::new(ErrorKind::TimedOut, verb, Effect::Unknown)),
                };
                lost |= result.as_ref().is_err_and(|error| error.effect() == Effect::Unknown);
                let passing = match &result {
                    Ok(reply) => *reply == Reply::Late,
                    Err(error) => error.is_passing(),
                };
                if !passing || self.left(sent, time) <= pause {
                    return Call { sent, result, lost };
                }
                Box::pin(tokio::time::sleep(pause)).await;
                pause *= 2;
                left = self.left(sent, time);
            }
        }
    }

    /// What is left of this time for a call that was sent then.
    fn left(&self, sent: Duration, time: Duration) -> Duration {
        let spent = self.clock.monotonic().saturating_sub(sent);
        time.saturating_sub(spent)
    }
}

/// An error with its causes, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors say themselves what their cause is.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            (said, cause) = (text, error.source());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::error;

    use super::*;

    #[derive(Debug)]
    struct Fails(&'static str, Option<Box<Self>>);

    impl fmt::Display for Fails {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl error::Error for Fails {
        fn source(&self) -> Option<&(dyn error::Error + 'static)> {
            self.1.as_deref().map(|cause| -> &(dyn error::Error + 'static) { cause })
        }
    }

    #[test]
    fn a_chain_of_errors_says_each_cause_once() {
        let root = Fails("no route", None);
        let says_it_too = Fails("not connected: no route", Some(Box::new(root)));
        let error = Fails("the call failed", Some(Box::new(says_it_too)));
        assert_eq!(Chain(&error).to_string(), "the call failed: not connected: no route");
    }
}
