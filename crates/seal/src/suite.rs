//! The one suite that is used.

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::Hpke;

/// What this sealing is for, so that nothing sealed for another purpose can be opened here.
pub(crate) const INFO: &[u8] = b"ostler seal 1";

pub(crate) fn suite() -> &'static dyn Hpke {
    DH_KEM_X25519_HKDF_SHA256_AES_256
}
