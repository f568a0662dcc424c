use super::concern::Concern;
use super::report::{AppendOnlyFile, ClusterView, Role, Server, Software};
use crate::store::redis::durability::Durability;

/// The first release whose scripts can say that they may write into a full server.
const OLDEST: (u32, u32) = (7, 0);

/// The first release that can wait for its append-only file.
const WAITS_FOR_DISK: (u32, u32) = (7, 2);

/// What a store expects of a server.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::redis) struct Expected {
    pub(in crate::store::redis) durability: Durability,
    pub(in crate::store::redis) cluster: bool,
}

impl Server {
    /// From the replies to `INFO`, `CONFIG GET appendfsync` and `CLUSTER INFO`.
    pub(in crate::store::redis) fn read(
        address: String,
        info: &str,
        fsync: Option<String>,
        cluster: Option<&str>,
        expected: Expected,
    ) -> Self {
        let field = |name| field(info, name);
        let redis = field("redis_version").unwrap_or("unknown").to_owned();
        let version = number_of(&redis);
        let software = match field("valkey_version") {
            Some(version) => Software::Valkey(version.to_owned()),
            None => Software::Redis(redis),
        };
        let file = (field("aof_enabled") == Some("1")).then(|| AppendOnlyFile {
            fsync,
            last_write_ok: field("aof_last_write_status") != Some("err"),
        });
        let view = (field("cluster_enabled") == Some("1")).then(|| ClusterView::read(cluster));
        let replica = |line: &&str| line.starts_with("slave") && line.contains("state=");
        let online = |line: &&str| line.contains("state=online");
        let mut server = Self {
            address,
            software,
            role: if field("role") == Some("slave") { Role::Replica } else { Role::Master },
            replicas: count(info.lines().filter(replica)),
            online: count(info.lines().filter(replica).filter(online)),
            append_only_file: file,
            eviction_policy: field("maxmemory_policy").unwrap_or("unknown").to_owned(),
            cluster: view,
            concerns: Vec::new(),
        };
        server.concerns = server.judge(version, expected);
        server
    }

    fn judge(&self, version: Option<(u32, u32)>, expected: Expected) -> Vec<Concern> {
        let Durability { replicas, on_disk } = expected.durability;
        let policy = self.eviction_policy.clone();
        let file = self.append_only_file.as_ref();
        let fsync = file.and_then(|file| file.fsync.as_deref());
        let is_down = self.cluster.is_some_and(|view| view.is_up == Some(false));
        let too_old = |least| version.is_none_or(|version| version < least);
        let number = || self.software.version().to_owned();
        let (asked, online) = (replicas, self.online);
        [
            (policy != "noeviction").then_some(Concern::Evicts { policy }),
            file.is_none().then_some(Concern::NoAppendOnlyFile),
            file.is_some_and(|file| !file.last_write_ok).then_some(Concern::AppendOnlyFileFails),
            (fsync == Some("no")).then_some(Concern::NeverSynced),
            (on_disk && fsync == Some("everysec")).then_some(Concern::SlowDisk),
            (on_disk && too_old(WAITS_FOR_DISK))
                .then(|| Concern::CannotWaitForDisk { version: number() }),
            (online < asked && self.role == Role::Master)
                .then_some(Concern::TooFewReplicas { asked, online }),
            (self.role == Role::Replica).then_some(Concern::Replica),
            (self.cluster.is_some() && !expected.cluster).then_some(Concern::Cluster),
            is_down.then_some(Concern::ClusterDown),
            too_old(OLDEST).then(|| Concern::TooOld { version: number() }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl ClusterView {
    fn read(info: Option<&str>) -> Self {
        let field = |name| info.and_then(|info| field(info, name));
        Self {
            is_up: field("cluster_state").map(|state| state == "ok"),
            slots: field("cluster_slots_ok").and_then(|slots| slots.parse().ok()),
        }
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn number_of(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\
        maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\n\
        role:master\r\nconnected_slaves:2\r\n\
        slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0\r\n\
        slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
        cluster_enabled:0\r\n";

    fn server(info: &str, fsync: &str, durability: Durability) -> Server {
        let expected = Expected { durability, cluster: false };
        Server::read("10.0.0.1:6379".into(), info, Some(fsync.into()), None, expected)
    }

    #[test]
    fn a_durable_master_that_evicts_nothing_is_no_concern() {
        let server = server(GOOD, "everysec", Durability::replicas(1));
        assert_eq!(server.concerns, []);
        assert_eq!(
            server.to_string(),
            "10.0.0.1:6379: Redis 7.0.15, master, 1 of 2 replicas online, append-only file on \
             (appendfsync everysec, last write ok), maxmemory-policy noeviction"
        );
    }

    #[test]
    fn every_setting_that_loses_records_is_a_concern() {
        let with = |from: &str, to: &str| {
            server(&GOOD.replace(from, to), "always", Durability::local()).concerns
        };
        let policy = "volatile-ttl".to_owned();
        assert_eq!(with("noeviction", "volatile-ttl"), [Concern::Evicts { policy }]);
        assert_eq!(with("aof_enabled:1", "aof_enabled:0"), [Concern::NoAppendOnlyFile]);
        assert_eq!(with("status:ok", "status:err"), [Concern::AppendOnlyFileFails]);
        assert_eq!(with("role:master", "role:slave"), [Concern::Replica]);
        assert_eq!(with("enabled:0", "enabled:1"), [Concern::Cluster]);
        let version = "6.2.14".to_owned();
        assert_eq!(with("7.0.15", "6.2.14"), [Concern::TooOld { version }]);
        assert_eq!(server(GOOD, "no", Durability::local()).concerns, [Concern::NeverSynced]);
    }

    #[test]
    fn a_server_that_cannot_give_what_was_asked_for_is_a_concern() {
        let short = Concern::TooFewReplicas { asked: 2, online: 1 };
        assert_eq!(server(GOOD, "always", Durability::replicas(2)).concerns, [short]);
        let version = "7.0.15".to_owned();
        let disk = Durability::local().on_disk();
        let concerns = server(GOOD, "always", disk).concerns;
        assert_eq!(concerns, [Concern::CannotWaitForDisk { version }]);
        let valkey = GOOD.replace("7.0.15", "7.2.4\r\nvalkey_version:9.1.2");
        let server = server(&valkey, "everysec", disk);
        assert_eq!(server.concerns, [Concern::SlowDisk]);
        assert_eq!(server.software, Software::Valkey("9.1.2".into()));
    }

    #[test]
    fn a_cluster_is_a_concern_only_when_it_is_down_or_not_expected() {
        let info = GOOD.replace("cluster_enabled:0", "cluster_enabled:1");
        let expected = Expected { durability: Durability::local(), cluster: true };
        let read = |cluster| Server::read("a:1".into(), &info, None, cluster, expected);
        let up = read(Some("cluster_state:ok\r\ncluster_slots_ok:16384\r\n"));
        assert_eq!(up.concerns, []);
        assert!(up.to_string().ends_with(", Cluster up (16384 of 16384 slots)"), "{up}");
        let down = read(Some("cluster_state:fail\r\ncluster_slots_ok:10922\r\n"));
        assert_eq!(down.concerns, [Concern::ClusterDown]);
        let lines: Vec<_> = down.to_string().lines().map(str::to_owned).collect();
        assert!(lines[1].starts_with("a:1: warning: the Cluster does not serve"), "{lines:?}");
        assert!(read(None).to_string().contains("Cluster unknown (unknown of 16384 slots)"));
    }
}
