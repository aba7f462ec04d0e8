//! A closed secret, and closing one.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rustls::crypto::hpke::HpkePublicKey;

use crate::binding::Binding;
use crate::keys::{KeyId, PublicKey};
use crate::suite::{INFO, suite};

/// The first word of the text form, with its version.
const MARK: &str = "ostler1";
/// Bytes of the longest text form that is read.
const MOST: usize = 256 << 10;

/// A secret could not be closed, or a text is no closed secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is not a closed secret.
    #[error("it is not a sealed secret")]
    Malformed,
    /// The cryptography refused; says nothing about the secret.
    #[error("sealing a secret failed")]
    Failed,
}

/// A closed secret with what it is bound to. Its text form is what is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(crate) key: KeyId,
    /// The binding exactly as it was closed in.
    pub(crate) binding: Vec<u8>,
    pub(crate) encapsulated: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

/// Closes a secret for the owner of this key.
pub fn seal(key: &PublicKey, binding: &Binding, secret: &[u8]) -> Result<Sealed, SealError> {
    let bound = serde_json::to_vec(binding).map_err(|_| SealError::Failed)?;
    let sealed = suite().seal(INFO, &bound, secret, &HpkePublicKey(key.0.to_vec()));
    let (encapsulated, ciphertext) = sealed.map_err(|_| SealError::Failed)?;
    Ok(Sealed { key: key.id(), binding: bound, encapsulated: encapsulated.0, ciphertext })
}

impl Sealed {
    /// The key that it was closed for.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// What it says to be bound to. Not proven before it is opened.
    pub fn claimed(&self) -> Option<Binding> {
        serde_json::from_slice(&self.binding).ok()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(key {})", self.key)
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}.{}", self.key)?;
        [&self.binding, &self.encapsulated, &self.ciphertext].into_iter().try_for_each(|part| write!(f, ".{}", BASE64.encode(part)))
    }
}

impl FromStr for Sealed {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        if text.len() > MOST {
            return Err(SealError::Malformed);
        }
        let mut parts = text.split('.');
        if parts.next() != Some(MARK) {
            return Err(SealError::Malformed);
        }
        let key = parts.next().and_then(KeyId::parse).ok_or(SealError::Malformed)?;
        let mut bytes = || parts.next().and_then(|part| BASE64.decode(part).ok()).ok_or(SealError::Malformed);
        let (binding, encapsulated, ciphertext) = (bytes()?, bytes()?, bytes()?);
        match parts.next() {
            None => Ok(Self { key, binding, encapsulated, ciphertext }),
            Some(_) => Err(SealError::Malformed),
        }
    }
}
