use redis::{Cmd, ErrorKind as Kind, RedisError, ServerErrorKind, Value};

use super::call::Call;
use crate::store::Error;

impl Call<'_> {
    /// Writes over a value with one plain command, if the key holds exactly the value that is
    /// expected. `false` says that nothing was done: it holds another one, or the server cannot
    /// compare, or it is full. A script can tell, and may write into a full server.
    ///
    /// `command` adds to `SET key` what is to be written, `IFEQ` and the rest.
    ///
    /// A plain command has no deadline, so a copy of it can land after the call was given up on. It
    /// needs none: what it compares with is a claim whole, with its nonce and its lease, as `begin`
    /// wrote it. While that is still there, nobody has taken over, released, renewed or completed
    /// the claim since, and the outcome of its run may be stored however late. Otherwise it does
    /// nothing.
    pub(super) async fn swap(
        &self,
        key: &[u8],
        command: &(impl Fn(&mut Cmd) + Sync),
    ) -> Result<bool, Error> {
        if self.lane.connection().await.is_ok_and(|live| live.lacks_ifeq()) {
            return Ok(false);
        }
        let swapped = self.exchange(self.lane, |mut live| {
            let mut set = Cmd::with_capacity(7, 256);
            set.arg("SET").arg(key);
            command(&mut set);
            async move {
                let reply = live.link.command(&set).await;
                if reply.as_ref().is_err_and(is_unknown) {
                    live.note_lack_of_ifeq();
                }
                reply
            }
        });
        match swapped.await {
            Ok(reply) => Ok(reply == Value::Okay),
            Err((_, error)) if is_unknown(&error) || error.code() == Some("OOM") => Ok(false),
            Err(failure) => Err(self.failed(failure)),
        }
    }
}

/// Whether the server did not understand the command. Should the error mean anything else, the
/// script meets it as well.
fn is_unknown(error: &RedisError) -> bool {
    error.kind() == Kind::Server(ServerErrorKind::ResponseError)
}
