//! The certificates that programs in Java trust. They read neither PEM nor the variables of others, but one file of their own
//! format: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/security/KeyStore.html>, of which "JKS" is what
//! every version reads, with a password or without.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
const TRUSTED: u32 = 2;
/// Anybody's: a sum over it finds accidents, and is only asked for by tools that name it.
const PASSWORD: &str = "changeit";
/// Goes into the sum, between the password and the file.
const WHITENER: &str = "Mighty Aphrodite";

/// The certificates of this PEM as a trust store of Java, type JKS, with the password that such files have by custom.
/// What is no certificate is left out.
#[must_use]
pub fn java(pem: &str) -> Vec<u8> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect();
    let mut store = Vec::with_capacity(pem.len());
    for number in [MAGIC, VERSION, length(certificates.len())] {
        store.extend(number.to_be_bytes());
    }
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED.to_be_bytes());
        text(&mut store, &format!("trusted-{number}"));
        // When it was put there, in milliseconds: the same certificates are the same file.
        store.extend(0_u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend(length(certificate.len()).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    PASSWORD.encode_utf16().for_each(|unit| sum.update(&unit.to_be_bytes()));
    sum.update(WHITENER.as_bytes());
    sum.update(&store);
    store.extend_from_slice(sum.finish().as_ref());
    store
}

fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_is_as_keytool_writes_it() {
        let sum = "e2686e45fb43dfa4d992dd41ceb6b21c6330d792";
        let expected = format!("feedfeed0000000200000000{sum}");
        let hex: String = java("no certificate\n").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_certificate_is_there_whole() {
        let certificate = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
        let pem = certificate.cert.pem();
        let store = java(&format!("{pem}{pem}"));
        assert_eq!(store[8..12], [0, 0, 0, 2]);
        let der: &[u8] = certificate.cert.der();
        assert_eq!(store.windows(der.len()).filter(|window| window == &der).count(), 2);
    }
}
