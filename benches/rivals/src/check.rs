//! What has to be true of a server before its speed is of interest.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::client::{Client, Question};
use crate::subject::Library;

/// Why a server is not measured.
pub(crate) type Refusal = String;

/// What a connection says of a server.
#[expect(clippy::needless_pass_by_value, reason = "it is what an error is mapped by")]
pub(crate) fn refusal(error: io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            "it closes connections instead of answering".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Asks twice with one key, and sees that it ran once, that the answers are the same, and that the second
/// one is marked; a server without any library runs both.
pub(crate) async fn check(
    library: Library,
    address: SocketAddr,
    question: &Question,
    number: u64,
) -> Result<(), Refusal> {
    let mut client = Client::connect(address).await.map_err(refusal)?;
    let mut question = question.clone();
    let before = runs(&mut client).await?;
    let mut bodies = Vec::new();
    for marked in [false, library != Library::Bare] {
        let answer = client.ask(&mut question, number).await.map_err(refusal)?;
        if answer.status != 200 || answer.replayed != marked {
            return Err(format!("status {}, marked: {}", answer.status, answer.replayed));
        }
        bodies.push(client.body().to_vec());
    }
    if bodies[0] != bodies[1] {
        return Err("another answer the second time".to_owned());
    }
    let ran = runs(&mut client).await? - before;
    let expected = if library == Library::Bare { 2 } else { 1 };
    if ran == expected { Ok(()) } else { Err(format!("ran {ran} times")) }
}

/// How often the handlers of this server have run.
pub(crate) async fn runs(client: &mut Client) -> Result<u64, Refusal> {
    let body = client.get("/runs").await.map_err(refusal)?;
    let number = String::from_utf8_lossy(&body).parse();
    number.map_err(|_| "the server does not say how often it ran".to_owned())
}
