//! The certificate authority of an installation, which only its own sandboxes trust. Its key follows from a number that belongs to
//! the vault keys and stays when they change.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::limits;

/// Bytes of the number of a certificate (RFC 5280 allows 20).
const SERIAL_BYTES: usize = 16;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority of egress cannot be made: {0}")]
pub struct AuthorityError(String);

fn failed(error: impl fmt::Display) -> AuthorityError {
    AuthorityError(error.to_string())
}

/// Issues certificates for the hosts whose connections are opened.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// One key for all hosts: it never leaves this process.
    leaf: KeyPair,
    provider: Arc<CryptoProvider>,
    issued: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    configs: HashMap<(String, Protocols), Arc<ServerConfig>>,
    order: VecDeque<(String, Protocols)>,
}

/// What is spoken over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocols {
    Http1,
    Http2,
}

impl Protocols {
    /// Its name in ALPN.
    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority that follows from a secret number; always the same one.
    pub fn of(number: &[u8; 32], provider: Arc<CryptoProvider>) -> Result<Self, AuthorityError> {
        let key = authority_key(number)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Ostler egress of this server");
        // Fixed, because sandboxes keep the certificate that they began with.
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2046, 1, 1));
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        let leaf = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        Ok(Self { issuer, leaf, provider, issued: Mutex::default() })
    }

    /// Its certificate, for those who are to trust it.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// How to be this host towards a sandbox.
    pub(crate) fn server(&self, host: &str, protocols: Protocols) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = (host.to_owned(), protocols);
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = issued.configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.issue(host, protocols)?);
        if issued.order.len() >= limits::CERTIFICATES
            && let Some(oldest) = issued.order.pop_front()
        {
            issued.configs.remove(&oldest);
        }
        issued.order.push_back(key.clone());
        issued.configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn issue(&self, host: &str, protocols: Protocols) -> Result<ServerConfig, AuthorityError> {
        let mut params = CertificateParams::default();
        let name = match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into().map_err(failed)?),
        };
        params.subject_alt_names = vec![name];
        params.distinguished_name.push(DnType::CommonName, "opened by Ostler egress");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Some programs refuse a second certificate with the number of another.
        params.serial_number = Some(SerialNumber::from_slice(&Sha256::digest(host.as_bytes())[..SERIAL_BYTES]));
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2046, 1, 1));
        let certificate = params.signed_by(&self.leaf, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
            .map_err(failed)?;
        config.alpn_protocols = vec![protocols.name().to_vec()];
        // Sessions are not resumed, and what they would cost is not kept.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// A key of P-256 that follows from a number: the number itself, or the first of those derived from it that is one.
fn authority_key(number: &[u8; 32]) -> Result<KeyPair, AuthorityError> {
    use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

    // All but one of 2^32 numbers are keys.
    const TRIES: u8 = 8;
    for count in 0..TRIES {
        let number = if count == 0 { Zeroizing::new(*number) } else { derived(number, count) };
        let Ok(private) = PrivateKey::from_private_key(&ECDH_P256, &*number) else { continue };
        let public = private.compute_public_key().map_err(failed)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_ASN1_SIGNING, &*number, public.as_ref());
        let pkcs8 = pair.map_err(failed)?.to_pkcs8v1().map_err(failed)?;
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_ref());
        return KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(failed);
    }
    Err(failed("no key follows from the vault key"))
}

fn derived(number: &[u8; 32], count: u8) -> Zeroizing<[u8; 32]> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, number), format!("egress authority 1 {count}").as_bytes());
    let mut next = Zeroizing::new([0; 32]);
    next.copy_from_slice(tag.as_ref());
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    }

    #[test]
    fn a_number_has_one_authority_and_every_number_has_one() {
        let public = |number: &[u8; 32]| authority_key(number).unwrap().public_key_raw().to_vec();
        assert_eq!(public(&[7; 32]), public(&[7; 32]));
        assert_ne!(public(&[7; 32]), public(&[8; 32]));
        // No key of the curve itself, and the next ones are.
        assert!(!public(&[0; 32]).is_empty() && public(&[0; 32]) != public(&[0xff; 32]));
        assert!(Authority::of(&[7; 32], provider()).unwrap().certificate().starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn certificates_are_kept_and_not_for_ever() {
        let authority = Authority::of(&[9; 32], provider()).unwrap();
        let first = authority.server("a.com", Protocols::Http1).unwrap();
        assert!(Arc::ptr_eq(&first, &authority.server("a.com", Protocols::Http1).unwrap()));
        assert!(!Arc::ptr_eq(&first, &authority.server("a.com", Protocols::Http2).unwrap()));
        assert!(authority.server("1.2.3.4", Protocols::Http1).is_ok());
    }
}
