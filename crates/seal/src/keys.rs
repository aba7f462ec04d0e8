//! The key with which everybody can close.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ostler_core::hex::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of an X25519 key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of the digest of a public key that name it.
const NAME_BYTES: usize = 8;

/// The name of a pair of keys: the beginning of the public key's SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_name = text.len() == 2 * NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_name.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The half of a pair that closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(pub(crate) [u8; KEY_BYTES]);

impl PublicKey {
    /// Its name.
    pub fn id(&self) -> KeyId {
        let digest = Sha256::digest(self.0);
        KeyId(hex(&digest[..NAME_BYTES]))
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}
