use std::time::Duration;

use redis::{Cmd, Value};

use super::RedisStore;

/// How much of Redis must have a claim before its request runs.
///
/// A claim that is lost lets a retry run a second time. Only claims need this: a *completed* record
/// that is lost makes its retries `outcome-unknown` (at least once, they run again), as long as the
/// claim is not lost with it.
///
/// What each setting can still lose, if one thing fails and the replica that knows most becomes the
/// new master:
///
/// | | the master is killed | the master is cut off | a power cut at the master |
/// |---|---|---|---|
/// | `local()` | what the replicas had not received | all that it goes on to claim | what is not on its disk: the last second with `appendfsync everysec`, nothing with `always` |
/// | `local().on_disk()` | the same | the same | nothing, if it comes back |
/// | `replicas(n)` | nothing | nothing | nothing, if a replica takes over; if the master restarts, as `local()` |
/// | `replicas(n).on_disk()` | nothing | nothing | nothing, even if the power of all of them is cut |
///
/// "Nothing" for `replicas(n)` is for one master and up to `n - 1` of those replicas failing. A
/// fail-over that picks a replica which knows less than another loses what it does not know: to be
/// certain, wait for all of them. Who waits for all is refused while one is missing, and a fail-over
/// takes one away: `replicas(1)` goes on after a fail-over only if there are two.
///
/// One wait covers all claims that were sent before it on its connection. While one is under way
/// further claims collect, and go together; on a Cluster, those for one node. While slots of a
/// Cluster move, a claim may wait alone. `cargo bench --bench durability` measures what it costs: with
/// one replica and all three programs on two cores, the claims in a second were 0.96 of those without
/// one at a time, and 0.67 to 0.75 of them 16 to 256 at a time.
///
/// ```
/// use tower_idempotency::store::redis::{Durability, RedisStore};
///
/// let store = RedisStore::connect("redis://localhost")?.durability(Durability::replicas(1));
/// # Ok::<(), tower_idempotency::store::redis::redis::RedisError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    pub(super) replicas: u32,
    pub(super) on_disk: bool,
}

impl Durability {
    /// The memory of the master. The default.
    #[must_use]
    pub const fn local() -> Self {
        Self { replicas: 0, on_disk: false }
    }

    /// The memory of the master and of this many replicas (`WAIT`).
    #[must_use]
    pub const fn replicas(count: u32) -> Self {
        Self { replicas: count, on_disk: false }
    }

    /// Beyond that, their append-only files (`WAITAOF`, which Redis 7.2 and Valkey have).
    ///
    /// With `appendfsync everysec` a claim then takes up to a second and more, for which
    /// [`store_timeout`](crate::layer::Builder::store_timeout) is too short; it is meant for
    /// `always`.
    #[must_use]
    pub const fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Whether there is anything to wait for.
    pub(super) fn is_local(self) -> bool {
        self == Self::local()
    }

    /// The command that waits for what its connection has written, for this long at most.
    pub(super) fn wait(self, within: Duration) -> Cmd {
        let mut command = match self.on_disk {
            true => redis::cmd("WAITAOF"),
            false => redis::cmd("WAIT"),
        };
        if self.on_disk {
            command.arg(1);
        }
        // Zero would mean for ever, and a number that is too large is refused.
        let millis = within.as_millis().clamp(1, u128::from(u32::MAX));
        command.arg(self.replicas).arg(millis.to_string());
        command
    }

    /// Whether its reply says that enough have it; `None` if it is no such reply.
    pub(super) fn is_reached(self, reply: &Value) -> Option<bool> {
        let enough = |replicas: &i64| *replicas >= i64::from(self.replicas);
        match reply {
            Value::Int(replicas) if !self.on_disk => Some(enough(replicas)),
            Value::Array(numbers) if self.on_disk => match &numbers[..] {
                [Value::Int(local), Value::Int(replicas)] => Some(*local >= 1 && enough(replicas)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl RedisStore {
    /// What must have a claim before its request runs; the default is the master alone.
    ///
    /// With more, `begin` has connections of its own, since waiting blocks them. A claim that falls
    /// short in the time of the call is none: [`NotDurable`](crate::store::ErrorKind::NotDurable),
    /// which a client sees as 503. What a slot holds already is told without waiting.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(durability: Durability, within: Duration) -> String {
        String::from_utf8(durability.wait(within).get_packed_command()).expect("text")
    }

    #[test]
    fn no_wait_is_for_ever() {
        let wait = packed(Durability::replicas(2), Duration::from_micros(1));
        assert_eq!(wait, "*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$1\r\n1\r\n");
        let wait = packed(Durability::local().on_disk(), Duration::from_millis(750));
        assert_eq!(wait, "*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n0\r\n$3\r\n750\r\n");
    }

    #[test]
    fn one_replica_too_few_is_too_few() {
        let (memory, disk) = (Durability::replicas(2), Durability::replicas(2).on_disk());
        let counts = |local, replicas| Value::Array(vec![Value::Int(local), Value::Int(replicas)]);
        assert_eq!(memory.is_reached(&Value::Int(1)), Some(false));
        assert_eq!(memory.is_reached(&Value::Int(2)), Some(true));
        assert_eq!(disk.is_reached(&counts(1, 1)), Some(false));
        assert_eq!(disk.is_reached(&counts(0, 2)), Some(false));
        assert_eq!(disk.is_reached(&counts(1, 3)), Some(true));
        assert_eq!(disk.is_reached(&Value::Int(2)), None);
        assert_eq!(memory.is_reached(&Value::Okay), None);
    }
}
