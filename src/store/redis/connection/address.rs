use redis::{Client, RedisResult};
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use redis::{ConnectionInfo, IntoConnectionInfo as _};

#[cfg(feature = "redis-cluster")]
use super::nodes::Nodes;
#[cfg(feature = "redis-sentinel")]
use super::sentinels::Sentinels;
use super::source::Source;
use crate::store::redis::error::invalid;

/// Where Sentinels listen, if nothing else is said.
#[cfg(feature = "redis-sentinel")]
const SENTINEL_PORT: &str = "26379";

/// What an address means. One of a single server is left to the client library; the others are taken
/// apart into addresses that it understands.
pub(in crate::store::redis) fn parse(address: &str) -> RedisResult<Source> {
    // Without the two slashes it may still be the path of a Unix socket.
    let (scheme, _) = address.split_once(':').ok_or_else(|| {
        invalid("an address begins with redis://, redis+sentinel:// or redis+cluster://")
    })?;
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    if matches!(base, "rediss" | "valkeys") && !has_tls() {
        return Err(invalid("TLS needs the feature `redis-tls`, which is not compiled in"));
    }
    match kind {
        #[cfg(feature = "redis-sentinel")]
        "sentinel" => sentinel(base, &Parts::of(address)),
        #[cfg(not(feature = "redis-sentinel"))]
        "sentinel" => Err(invalid(
            "redis+sentinel:// needs the feature `redis-sentinel`, which is not compiled in",
        )),
        #[cfg(feature = "redis-cluster")]
        "cluster" => cluster(base, &Parts::of(address)),
        #[cfg(not(feature = "redis-cluster"))]
        "cluster" => Err(invalid(
            "redis+cluster:// needs the feature `redis-cluster`, which is not compiled in",
        )),
        "" | "unix" => Client::open(address).map(Source::server),
        _ => Err(invalid("of addresses with a plus there are redis+sentinel and redis+cluster")),
    }
}

fn has_tls() -> bool {
    let (host, port) = (String::new(), 0);
    redis::ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }.is_supported()
}

/// `scheme://[user:password@]host[:port][,host[:port]]…[/path][?query][#fragment]`
#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
struct Parts<'a> {
    /// With its `@`.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    /// With its `?`.
    query: &'a str,
    /// With its `#`.
    fragment: &'a str,
}

#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
impl<'a> Parts<'a> {
    fn of(address: &'a str) -> Self {
        let (_, rest) = address.split_once("://").unwrap_or(("", address));
        let (rest, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
        let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Self { user, hosts: hosts.split(',').collect(), path, query, fragment }
    }

    /// One of the servers, as the client library wants it.
    fn server(&self, base: &str, host: &str, path: &str) -> RedisResult<ConnectionInfo> {
        let Self { user, query, fragment, .. } = self;
        format!("{base}://{user}{host}/{path}{query}{fragment}").into_connection_info()
    }
}

#[cfg(feature = "redis-sentinel")]
fn sentinel(base: &str, parts: &Parts<'_>) -> RedisResult<Source> {
    let (master, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if master.is_empty() {
        return Err(invalid("after the Sentinels comes the name of their master: …:26379/name"));
    }
    let has_port = |host: &str| host.rfind(':') > host.rfind(']');
    // The user is one of the master; Sentinels have users of their own.
    let sentinel = |host: &&str| {
        let port = if has_port(host) { "" } else { &format!(":{SENTINEL_PORT}") };
        format!("{base}://{host}{port}{}", parts.fragment).into_connection_info()
    };
    let sentinels = parts.hosts.iter().map(sentinel).collect::<RedisResult<_>>()?;
    let template = parts.server(base, parts.hosts[0], database)?;
    Ok(Source::Sentinels(Sentinels::at(sentinels, master, template)?.into()))
}

#[cfg(feature = "redis-cluster")]
fn cluster(base: &str, parts: &Parts<'_>) -> RedisResult<Source> {
    let nodes = parts.hosts.iter().map(|host| parts.server(base, host, parts.path));
    let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
    let chosen = parts.query.contains("protocol=").then(|| nodes[0].redis_settings().protocol());
    Ok(Source::Cluster(Nodes::at(nodes, chosen)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> String {
        parse(address).map_or_else(|error| error.to_string(), |source| source.to_string())
    }

    #[test]
    fn an_address_is_shown_without_its_user() {
        for (address, expected) in [
            ("redis://user:secret@host:7000/3", "host:7000"),
            #[cfg(feature = "redis-tls")]
            ("rediss://user:secret@host", "host:6379"),
            #[cfg(feature = "redis-sentinel")]
            (
                "redis+sentinel://user:secret@one,two:7000,[::1]/payments/2",
                "the master \"payments\" of the Sentinels at one:26379, two:7000, ::1:26379",
            ),
            #[cfg(feature = "redis-cluster")]
            ("redis+cluster://user:secret@one,[::1]:7000", "a Cluster at one:6379, ::1:7000"),
            #[cfg(all(feature = "redis-cluster", feature = "redis-tls"))]
            ("rediss+cluster://one:1,two:2/", "a Cluster at one:1, two:2"),
        ] {
            assert_eq!(shown(address), expected, "{address}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_an_error_without_its_password() {
        for address in [
            "host:secret",
            "http://user:secret@host",
            "redis+other://user:secret@host",
            #[cfg(feature = "redis-sentinel")]
            "redis+sentinel://user:secret@host:26379",
            #[cfg(feature = "redis-sentinel")]
            "redis+sentinel://user:secret@/payments",
            #[cfg(feature = "redis-cluster")]
            "redis+cluster://user:secret@one,,two",
            #[cfg(not(feature = "redis-cluster"))]
            "redis+cluster://user:secret@one,two",
            #[cfg(not(feature = "redis-sentinel"))]
            "redis+sentinel://user:secret@one/payments",
            #[cfg(not(feature = "redis-tls"))]
            "rediss://user:secret@one",
        ] {
            let error = parse(address).err().expect(address).to_string();
            assert!(!error.contains("secret"), "{address}: {error}");
        }
    }

    #[cfg(feature = "redis-sentinel")]
    #[test]
    fn the_database_and_the_user_are_those_of_the_master() {
        let parts = Parts::of("user:secret@one/payments/2?protocol=3#insecure");
        assert_eq!(
            (parts.user, &parts.hosts[..], parts.path),
            ("user:secret@", &["one"][..], "payments/2")
        );
        let master = parts.server("redis", "one", "2").expect("an address");
        let settings = master.redis_settings();
        assert_eq!((settings.db(), settings.username()), (2, Some("user")));
    }
}
