//! API keys as text: made, read, and turned into the public id and the hash that are stored. Who
//! holds which key is looked up elsewhere.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostler_core::hex::hex;
use ostler_core::ids::ApiKeyId;
use ostler_runtime::ambient::Ambient;
use sha2::{Digest, Sha256};

const PREFIX: &str = "ostler_";
const ID_CHARS: usize = 26;
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;

/// There is no randomness to make a key from.
#[derive(Debug, thiserror::Error)]
#[error("making an API key: the system gives no randomness")]
pub struct NoRandomness(#[source] getrandom::Error);

/// An API key with its secret. Not printed by `Debug`.
#[derive(Clone)]
pub struct ApiKeySecret {
    /// The public id, stored and shown.
    pub id: ApiKeyId,
    /// SHA-256 of the whole text, stored.
    pub sha256: [u8; 32],
    text: String,
}

impl ApiKeySecret {
    /// A new key: `ostler_<id>_<secret>`.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(ambient: &Ambient) -> Result<Self, NoRandomness> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(NoRandomness)?;
        let id = ApiKeyId::mint(&mut ambient.ids());
        let bare = id.as_str().trim_start_matches(ApiKeyId::PREFIX);
        Ok(Self::from_preset(&format!("{PREFIX}{bare}_{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// A key whose text is given, in our form or any other; one of another form gets an id that
    /// follows from the text and does not tell it.
    pub fn from_preset(text: &str) -> Self {
        Self { id: id_of(text), sha256: Sha256::digest(text.as_bytes()).into(), text: text.to_owned() }
    }

    /// The whole key, to be shown once.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeySecret").field("id", &self.id).finish_non_exhaustive()
    }
}

fn id_of(text: &str) -> ApiKeyId {
    own_id(text).unwrap_or_else(|| derived_id(text))
}

fn own_id(text: &str) -> Option<ApiKeyId> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, secret) = (rest.get(..ID_CHARS)?, rest.get(ID_CHARS..)?.strip_prefix('_')?);
    let secret_like = secret.len() == SECRET_CHARS && secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let id_like = id.bytes().all(|b| b.is_ascii_alphanumeric());
    if secret_like && id_like { format!("{}{id}", ApiKeyId::PREFIX).parse().ok() } else { None }
}

#[expect(clippy::expect_used, reason = "the prefix and hexadecimal digits are always an id")]
fn derived_id(text: &str) -> ApiKeyId {
    let digest: [u8; 32] = Sha256::digest(format!("id:{text}").as_bytes()).into();
    let hex = hex(&digest[..ID_CHARS / 2]);
    format!("{}{hex}", ApiKeyId::PREFIX).parse().expect("a valid id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_as_itself() {
        let key = ApiKeySecret::generate(&Ambient::system()).unwrap();
        assert_eq!(key.text().len(), PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS);
        let again = ApiKeySecret::from_preset(key.text());
        assert_eq!((&again.id, again.sha256), (&key.id, key.sha256));
        assert!(key.text().contains(key.id.as_str().trim_start_matches("apikey_")));
        assert_ne!(ApiKeySecret::generate(&Ambient::system()).unwrap().text(), key.text());
    }

    #[test]
    fn a_preset_of_any_form_has_a_stable_id_that_does_not_tell_it() {
        let key = ApiKeySecret::from_preset("test-key");
        assert_eq!(key.id, ApiKeySecret::from_preset("test-key").id);
        assert_ne!(key.id, ApiKeySecret::from_preset("test-kez").id);
        assert_eq!(key.id.as_str().len(), "apikey_".len() + ID_CHARS);
        assert!(!format!("{key:?}").contains("test-key"));
    }

    #[test]
    fn odd_texts_do_not_pass_as_our_form() {
        for text in [
            "",
            "ostler_",
            "ostler_é",
            "ostler_01h_x",
            &format!("ostler_{}_{}", "!".repeat(26), "a".repeat(43)),
            &format!("ostler_{}_{}", "a".repeat(26), "a".repeat(44)),
        ] {
            assert!(own_id(text).is_none(), "{text}");
            let _ = id_of(text);
        }
    }
}
