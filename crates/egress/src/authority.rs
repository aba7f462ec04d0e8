//! The certificate authority of an installation, which only its own sandboxes trust. Its key follows from a number that belongs to
//! the vault keys and stays when they change.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;

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
    issued: Mutex<Kept>,
    /// Those of hosts of which nothing is passed on. Whoever asks for many of them takes no place of others.
    refusing: Mutex<Kept>,
}

/// Certificates that are kept, by host.
struct Kept {
    most: usize,
    by_host: HashMap<String, Issued>,
    /// Counts uses, so that the one that was used longest ago is known.
    uses: u64,
}

struct Issued {
    host: Arc<HostTls>,
    last_use: u64,
}

/// How to be a host, in each protocol, by one certificate.
struct HostTls {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    /// From when on another certificate is made.
    renewed_at: SystemTime,
}

impl HostTls {
    fn of(&self, protocols: Protocols) -> Arc<ServerConfig> {
        Arc::clone(match protocols {
            Protocols::Http1 => &self.http1,
            Protocols::Http2 => &self.http2,
        })
    }
}

impl Kept {
    fn new(most: usize) -> Mutex<Self> {
        Mutex::new(Self { most, by_host: HashMap::new(), uses: 0 })
    }

    /// One that is valid for long enough.
    fn find(&mut self, host: &str, now: SystemTime) -> Option<Arc<HostTls>> {
        self.uses += 1;
        let issued = self.by_host.get_mut(host).filter(|issued| issued.host.renewed_at > now)?;
        issued.last_use = self.uses;
        Some(Arc::clone(&issued.host))
    }

    fn keep(&mut self, host: &str, issued: Arc<HostTls>) {
        if self.by_host.len() >= self.most && !self.by_host.contains_key(host) {
            let oldest = self.by_host.iter().min_by_key(|(_, issued)| issued.last_use).map(|(host, _)| host.clone());
            oldest.and_then(|oldest| self.by_host.remove(&oldest));
        }
        self.uses += 1;
        self.by_host.insert(host.to_owned(), Issued { host: issued, last_use: self.uses });
    }
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
        Ok(Self { issuer, leaf, provider, issued: Kept::new(limits::CERTIFICATES), refusing: Kept::new(limits::REFUSED_CERTIFICATES) })
    }

    /// Its certificate, for those who are to trust it.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// How to be this host towards a sandbox.
    pub(crate) fn server(&self, host: &str, protocols: Protocols) -> Result<Arc<ServerConfig>, AuthorityError> {
        self.found(&self.issued, host, protocols, || true)?.ok_or_else(|| failed("it may not be made"))
    }

    /// The same for a host of which nothing is passed on, to say why. None where no certificate may be made for it.
    pub(crate) fn refusing(
        &self,
        host: &str,
        protocols: Protocols,
        may: impl FnOnce() -> bool,
    ) -> Result<Option<Arc<ServerConfig>>, AuthorityError> {
        self.found(&self.refusing, host, protocols, may)
    }

    fn found(
        &self,
        kept: &Mutex<Kept>,
        host: &str,
        protocols: Protocols,
        may: impl FnOnce() -> bool,
    ) -> Result<Option<Arc<ServerConfig>>, AuthorityError> {
        let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if let Some(found) = lock().find(host, now) {
            return Ok(Some(found.of(protocols)));
        }
        if !may() {
            return Ok(None);
        }
        // Nobody waits for this one. Two may be made at once; each has a number of its own.
        let issued = Arc::new(self.issue(host, now)?);
        lock().keep(host, Arc::clone(&issued));
        Ok(Some(issued.of(protocols)))
    }

    fn issue(&self, host: &str, now: SystemTime) -> Result<HostTls, AuthorityError> {
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
        let mut number = [0; SERIAL_BYTES];
        aws_lc_rs::rand::fill(&mut number).map_err(failed)?;
        params.serial_number = Some(SerialNumber::from_slice(&number));
        let since = now.duration_since(SystemTime::UNIX_EPOCH).map_err(failed)?;
        params.not_before = date_time_ymd(1970, 1, 1) + since.saturating_sub(limits::CLOCK_SKEW);
        params.not_after = date_time_ymd(1970, 1, 1) + since.saturating_add(limits::CERTIFICATE_LIFE);
        let certificate = params.signed_by(&self.leaf, &self.issuer).map_err(failed)?;
        let config = |protocols: Protocols| {
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
            Ok::<_, AuthorityError>(Arc::new(config))
        };
        let renewed_at = now + (limits::CERTIFICATE_LIFE - limits::CERTIFICATE_RENEWED);
        Ok(HostTls { http1: config(Protocols::Http1)?, http2: config(Protocols::Http2)?, renewed_at })
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

    fn authority() -> Authority {
        Authority::of(&[9; 32], provider()).unwrap()
    }

    #[test]
    fn certificates_are_kept_and_not_for_ever() {
        let authority = authority();
        let first = authority.server("a.com", Protocols::Http1).unwrap();
        assert!(Arc::ptr_eq(&first, &authority.server("a.com", Protocols::Http1).unwrap()));
        assert!(!Arc::ptr_eq(&first, &authority.server("a.com", Protocols::Http2).unwrap()));
        assert!(authority.server("1.2.3.4", Protocols::Http1).is_ok());
        let now = SystemTime::now();
        let mut kept = authority.issued.lock().unwrap();
        assert!(kept.find("a.com", now).is_some());
        let later = now + limits::CERTIFICATE_LIFE - limits::CERTIFICATE_RENEWED + std::time::Duration::from_secs(5);
        assert!(kept.find("a.com", later).is_none(), "one that ends soon is not used any more");
    }

    #[test]
    fn the_one_that_was_used_longest_ago_goes_first() {
        let authority = authority();
        let issued = Arc::new(authority.issue("a.com", SystemTime::now()).unwrap());
        let mut kept = Kept { most: 2, by_host: HashMap::new(), uses: 0 };
        let now = SystemTime::now();
        kept.keep("a.com", Arc::clone(&issued));
        kept.keep("b.com", Arc::clone(&issued));
        assert!(kept.find("a.com", now).is_some());
        kept.keep("c.com", issued);
        let found = ["a.com", "b.com", "c.com"].map(|host| kept.find(host, now).is_some());
        assert_eq!(found, [true, false, true]);
    }

    #[test]
    fn refusals_take_no_place_of_others_and_are_not_made_without_leave() {
        let authority = authority();
        authority.server("a.com", Protocols::Http1).unwrap();
        for at in 0..=limits::REFUSED_CERTIFICATES {
            assert!(authority.refusing(&format!("n{at}.com"), Protocols::Http1, || true).unwrap().is_some());
        }
        assert_eq!(authority.refusing.lock().unwrap().by_host.len(), limits::REFUSED_CERTIFICATES);
        assert!(authority.issued.lock().unwrap().by_host.keys().eq(["a.com"]));
        assert!(authority.refusing("other.com", Protocols::Http1, || false).unwrap().is_none());
        let last = format!("n{}.com", limits::REFUSED_CERTIFICATES);
        assert!(authority.refusing(&last, Protocols::Http2, || false).unwrap().is_some(), "what is kept needs none");
    }
}
