use std::io;
use std::sync::Weak;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::SockRef;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisResult};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::gather::Gathering;
use super::live::Shared;

/// Connects to a server. `calls` is held by each call on the connection.
///
/// The client library drives a connection in a task that it spawns itself, unless it is given the
/// socket. Those of other kinds than TCP only the library can make.
pub(super) async fn connect(
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
    calls: Weak<Shared>,
) -> RedisResult<MultiplexedConnection> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await;
    };
    let socket = connect_tcp(host, *port).await?;
    set(&socket, info.tcp_settings())?;
    let (connection, driver) =
        MultiplexedConnection::new_with_config(info.redis_settings(), socket, config).await?;
    // It ends by itself once nobody has the connection any more.
    tokio::spawn(Gathering::new(driver, calls));
    Ok(connection)
}

/// Connects to all addresses of a host at once, as the client library does: one may be silent.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?;
    let mut attempts: JoinSet<_> = addresses.map(TcpStream::connect).collect();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::from).flatten() {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn set(socket: &TcpStream, settings: &TcpSettings) -> io::Result<()> {
    socket.set_nodelay(settings.nodelay())?;
    let socket = SockRef::from(socket);
    if let Some(keepalive) = settings.keepalive() {
        socket.set_tcp_keepalive(keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(settings.user_timeout())?;
    Ok(())
}
