//! The key and the certificates that a server shows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto};

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has nothing of what it should have.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Key and certificates do not belong together, or are of a kind that is not known.
    #[error("{}: {source}", path.display())]
    Pair {
        /// The file with the certificates.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// What answers handshakes with these certificates (PEM, the server's own first) and this key (PEM). `protocol` is what is
/// spoken then, by its name in such handshakes.
///
/// # Errors
/// Files that cannot be read, or that do not belong together.
pub fn acceptor(certificates: &Path, key: &Path, protocol: &[u8]) -> Result<TlsAcceptor, TlsError> {
    let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
        CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain = chain.map_err(|source| unreadable(certificates, source))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable(key, source))?;
    let pair = |source| TlsError::Pair { path: certificates.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(pair)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(path: &Path, source: pem::Error) -> TlsError {
    let source = match source {
        pem::Error::Io(source) => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    };
    TlsError::File { path: path.to_owned(), source }
}
