//! A Redis server that serves TLS, with certificates made for it.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use redis::TlsCertificates;

use super::launch::{Launch, tls_port};
use super::redis::RedisServer;

/// A server with a certificate for `127.0.0.1` that an authority of its own has signed.
#[derive(Debug)]
pub struct TlsServer {
    /// The same server without TLS, for what a test does behind the store's back.
    pub server: RedisServer,
    authority: String,
    /// Its certificate and key.
    _folder: tempfile::TempDir,
}

impl TlsServer {
    /// Starts one with options such as `["--user", "shop", "on", ">word", "~*", "+@all"]`.
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let write = |name, text| {
            std::fs::write(folder.path().join(name), text).expect("the file is written");
        };
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = key();
        let authority = root.self_signed(&root_key).expect("an authority").pem();
        let server_key = key();
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let certificate = names.signed_by(&server_key, &Issuer::new(root, root_key));
        write("server.pem", certificate.expect("a certificate").pem());
        write("server.key", server_key.serialize_pem());
        let tls = Some(folder.path().to_owned());
        let server = RedisServer::launch(&Launch { tls, ..Launch::new(options) });
        Self { server, authority, _folder: folder }
    }

    /// Its address for a user such as `shop:word`, or for nobody.
    pub fn url(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        format!("rediss://{user}{at}127.0.0.1:{}", tls_port(self.server.port()))
    }

    /// What a client has to trust.
    pub fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: Some(self.authority.clone().into()) }
    }

    /// A client that trusts it.
    pub fn client(&self, user: &str) -> redis::Client {
        let client = redis::Client::build_with_tls(self.url(user), self.certificates());
        client.expect("a valid address")
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
