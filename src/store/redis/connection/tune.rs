use std::time::Duration;

use redis::ConnectionInfo;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};

/// After this long without an acknowledgement a connection is dead, however quiet the network is.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// How often a quiet connection is then asked for a sign of life.
const PROBE: Duration = Duration::from_secs(2);

/// Sockets that send at once and notice when the other end is gone. What is set already stays.
pub(super) fn tuned(settings: TcpSettings) -> TcpSettings {
    let mut settings = settings.set_nodelay(true);
    if settings.keepalive().is_none() {
        let keepalive = TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(PROBE);
        settings = settings.set_keepalive(keepalive);
    }
    #[cfg(target_os = "linux")]
    if settings.user_timeout().is_none() {
        settings = settings.set_user_timeout(UNACKNOWLEDGED);
    }
    settings
}

/// The same place, reached over such sockets.
pub(super) fn tuned_info(info: ConnectionInfo) -> ConnectionInfo {
    let settings = tuned(info.tcp_settings().clone());
    info.set_tcp_settings(settings)
}
