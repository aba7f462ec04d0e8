//! Whom egress trusts on the way out: the host's certificate authorities, or those of Mozilla where the host has none, and
//! those that the operator adds.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::service::StartError;

/// The certificates of the authorities that are trusted.
pub(crate) fn roots(extra: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    if roots.is_empty() {
        roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
    }
    for path in extra {
        let unreadable = |error: &dyn std::fmt::Display| StartError::Trust(path.display().to_string(), error.to_string());
        let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
        for certificate in read {
            roots.push(certificate.map_err(|error| unreadable(&error))?);
        }
    }
    Ok(roots)
}

/// How to be a client of any host.
pub(crate) fn client(roots: &[CertificateDer<'static>], provider: &Arc<CryptoProvider>) -> Result<ClientConfig, StartError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| StartError::Tls(error.to_string()))?.with_root_certificates(store).with_no_client_auth())
}

/// Certificates in PEM.
pub(crate) fn pem(roots: &[CertificateDer<'static>]) -> String {
    const COLUMNS: usize = 64;
    let mut text = String::new();
    for root in roots {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(root);
        for line in encoded.as_bytes().chunks(COLUMNS) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
