//! One axum server with every knob of the crate on its command line, for tests, load tools and
//! fault tests that drive it from outside.
//!
//! ```text
//! cargo run --release --all-features --example reference_server -- --listen 127.0.0.1:0
//! ```

mod bodies;
#[cfg(feature = "postgres")]
mod charges;
mod executions;
mod options;
mod protection;
mod routes;
mod serve;
mod stores;

use std::error::Error;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::executions::Executions;
use crate::options::Options;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
    }
    // The library leaves it to the program whose cryptography TLS uses.
    #[cfg(feature = "redis-tls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    let executions = Executions::new(options.ledger.as_deref())
        .unwrap_or_else(|error| refuse(&format!("cannot open the ledger: {error}")));
    let executions = Arc::new(executions);
    let layer = protection::layer(&options, &executions).await;
    let layer = layer.unwrap_or_else(|error| refuse(&error));
    #[cfg(feature = "postgres")]
    let charges = charges::routes(&options).unwrap_or_else(|error| refuse(&error));
    #[cfg(not(feature = "postgres"))]
    let charges = axum::Router::new();
    let router = routes::router(executions, charges, layer.clone());
    let listener = TcpListener::bind(options.listen).await?;

    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;

    serve::until_stopped(listener, router, &layer.drain()).await?;
    Ok(())
}

/// Ends the process as the parser of the command line does: with exit code 2.
fn refuse(why: &dyn Display) -> ! {
    Options::command().error(ErrorKind::ValueValidation, why).exit()
}
