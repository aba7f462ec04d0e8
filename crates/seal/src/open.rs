//! Opening, for the one process that may: egress. Nothing else uses this module, which `cargo xtask tidy` checks.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rustls::crypto::hpke::{EncapsulatedSecret, HpkePrivateKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::binding::Binding;
use crate::keys::{KEY_BYTES, KeyId, PublicKey};
use crate::sealed::{SealError, Sealed};
use crate::suite::{INFO, suite};

/// The first word of a key's text form, with its version.
const MARK: &str = "ostler-key-1";
/// The same of the number that the authority of opened connections follows from.
const AUTHORITY: &str = "ostler-authority-1";

/// Why a sealed secret stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key that it was closed for is not there.
    #[error("it was sealed for the key {0}, which is not in the key file")]
    UnknownKey(KeyId),
    /// It, or what it is bound to, was changed after it was closed.
    #[error("it, or what it is bound to, was changed after it was sealed")]
    Changed,
}

/// A secret in the open; wiped when dropped, and it does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// A pair of keys.
#[derive(Clone)]
pub struct KeyPair {
    public: PublicKey,
    private: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public.id())
    }
}

impl KeyPair {
    /// A new pair.
    pub fn generate() -> Result<Self, SealError> {
        let (public, private) = suite().generate_key_pair().map_err(|_| SealError::Failed)?;
        let public = public.0.try_into().map_err(|_| SealError::Failed)?;
        Ok(Self { public: PublicKey(public), private: Zeroizing::new(private.secret_bytes().to_vec()) })
    }

    /// The half that may be given away.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The line of a key file.
    pub fn to_line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{MARK} {} {}", self.public, *Zeroizing::new(BASE64.encode(&*self.private))))
    }

    /// Reads a line of a key file, and checks that both halves belong together.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(MARK) {
            return None;
        }
        let public = PublicKey::parse(words.next()?)?;
        let private = Zeroizing::new(BASE64.decode(words.next()?).ok()?);
        if private.len() != KEY_BYTES || words.next().is_some() {
            return None;
        }
        let pair = Self { public, private };
        let (encapsulated, ciphertext) =
            suite().seal(INFO, b"", b"both halves", &rustls::crypto::hpke::HpkePublicKey(pair.public.0.to_vec())).ok()?;
        let mut opened = suite().open(&encapsulated, INFO, b"", &ciphertext, &pair.hpke()).ok()?;
        opened.zeroize();
        Some(pair)
    }

    /// The number that the authority of opened connections follows from, where none is kept beside the keys.
    fn authority(&self) -> Number {
        self.derived("egress authority 1 0")
    }

    /// A secret number that follows from this key, another one for each purpose.
    fn derived(&self, purpose: &str) -> Number {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.private);
        let tag = hmac::sign(&key, format!("ostler derived 1 {purpose}").as_bytes());
        let mut number = Zeroizing::new([0; KEY_BYTES]);
        number.copy_from_slice(tag.as_ref());
        number
    }

    fn hpke(&self) -> HpkePrivateKey {
        HpkePrivateKey::from(self.private.to_vec())
    }
}

/// A secret number.
type Number = Zeroizing<[u8; KEY_BYTES]>;

/// The keys that are known: the first closes, all open.
#[derive(Clone)]
pub struct KeyRing {
    first: KeyPair,
    older: Vec<KeyPair>,
    authority: Number,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs()).finish()
    }
}

impl KeyRing {
    /// Keys, the newest first.
    pub fn new(first: KeyPair, older: Vec<KeyPair>) -> Self {
        let authority = older.last().unwrap_or(&first).authority();
        Self { first, older, authority }
    }

    /// Reads a key file: a line for each pair, the newest first, and perhaps one for the authority; empty lines and those after `#` do
    /// not count.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut pairs, mut authority) = (Vec::new(), None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix(AUTHORITY) {
                None => pairs.push(KeyPair::from_line(line)?),
                Some(number) if authority.is_none() => {
                    let bytes = Zeroizing::new(BASE64.decode(number.trim()).ok()?);
                    authority = Some(Number::new(bytes.as_slice().try_into().ok()?));
                }
                Some(_) => return None,
            }
        }
        let mut pairs = pairs.into_iter();
        let ring = Self::new(pairs.next()?, pairs.collect());
        Some(Self { authority: authority.unwrap_or_else(|| ring.authority.clone()), ..ring })
    }

    /// A key file with these keys. Where they are several, or others than at first, the authority has a line of its own.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(self.pairs().map(|pair| format!("{}\n", *pair.to_line())).collect::<String>());
        if !self.older.is_empty() || self.authority != self.first.authority() {
            text.push_str(&Zeroizing::new(format!("{AUTHORITY} {}\n", *Zeroizing::new(BASE64.encode(*self.authority)))));
        }
        text
    }

    /// What the authority of opened connections follows from: it stays the same while keys come and go.
    pub fn authority(&self) -> &[u8; KEY_BYTES] {
        &self.authority
    }

    /// The key that closes.
    pub fn public(&self) -> &PublicKey {
        self.first.public()
    }

    /// The names of all keys, the newest first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.pairs().map(|pair| pair.public.id()).collect()
    }

    /// The public halves of the keys that only open, the newest first.
    pub fn former(&self) -> impl Iterator<Item = &PublicKey> {
        self.older.iter().map(KeyPair::public)
    }

    /// The same with a new key that closes from now on.
    pub fn with_new(&self, pair: KeyPair) -> Self {
        Self { first: pair, older: self.pairs().cloned().collect(), authority: self.authority.clone() }
    }

    /// The same with the newest key alone.
    pub fn newest_alone(&self) -> Self {
        Self { first: self.first.clone(), older: Vec::new(), authority: self.authority.clone() }
    }

    fn pairs(&self) -> impl Iterator<Item = &KeyPair> {
        std::iter::once(&self.first).chain(&self.older)
    }

    /// Opens a secret; what it is bound to is proven then.
    pub fn open(&self, sealed: &Sealed) -> Result<(Binding, Secret), OpenError> {
        let pair = self.pairs().find(|pair| pair.public.id() == sealed.key).ok_or_else(|| OpenError::UnknownKey(sealed.key.clone()))?;
        let encapsulated = EncapsulatedSecret(sealed.encapsulated.clone());
        let opened = suite().open(&encapsulated, INFO, &sealed.binding, &sealed.ciphertext, &pair.hpke());
        let secret = Secret::new(opened.map_err(|_| OpenError::Changed)?);
        let binding = serde_json::from_slice(&sealed.binding).map_err(|_| OpenError::Changed)?;
        Ok((binding, secret))
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::ids::{CredentialId, IdSource, OrganizationId, VaultId, WorkspaceId};

    use super::*;
    use crate::binding::{Bound, Hosts, Places};
    use crate::sealed::seal;

    fn binding(host: &str) -> Binding {
        let mut ids = IdSource::new(1, 1);
        Binding {
            organization: OrganizationId::mint(&mut ids),
            workspace: WorkspaceId::mint(&mut ids),
            vault: VaultId::mint(&mut ids),
            credential: CredentialId::mint(&mut ids),
            part: "secret_value".into(),
            version: 3,
            bound: Bound::EnvironmentVariable {
                name: "TOKEN".into(),
                hosts: Hosts::Only(vec![host.into()]),
                places: Places { header: true, body: false },
            },
        }
    }

    fn ring() -> KeyRing {
        KeyRing::new(KeyPair::generate().unwrap(), Vec::new())
    }

    #[test]
    fn what_was_closed_opens_with_what_it_is_bound_to() {
        let ring = ring();
        let sealed = seal(ring.public(), &binding("a.com"), b"hidden").unwrap();
        let text = sealed.to_string();
        assert!(!text.contains("hidden") && !format!("{sealed:?}").contains("hidden"));
        let (bound, secret) = ring.open(&text.parse().unwrap()).unwrap();
        assert_eq!((bound, secret.expose()), (binding("a.com"), &b"hidden"[..]));
        assert_eq!(sealed.claimed(), Some(binding("a.com")));
        assert!(!format!("{secret:?} {ring:?}").contains("hidden"));
        assert_ne!(sealed, seal(ring.public(), &binding("a.com"), b"hidden").unwrap(), "twice the same secret looks different");
    }

    #[test]
    fn a_changed_binding_or_another_key_opens_nothing() {
        let ring = ring();
        let sealed = seal(ring.public(), &binding("a.com"), b"hidden").unwrap();
        let other = seal(ring.public(), &binding("evil.com"), b"x").unwrap();
        assert_eq!(ring.open(&Sealed { binding: other.binding.clone(), ..sealed.clone() }), Err(OpenError::Changed));
        assert_eq!(ring.open(&Sealed { encapsulated: other.encapsulated, ..sealed.clone() }), Err(OpenError::Changed));
        assert_eq!(ring.open(&Sealed { ciphertext: other.ciphertext, ..sealed.clone() }), Err(OpenError::Changed));
        let stranger = super::tests::ring();
        assert_eq!(stranger.open(&sealed), Err(OpenError::UnknownKey(ring.public().id())));
        // The name of the key alone does not help either.
        assert_eq!(stranger.open(&Sealed { key: stranger.public().id(), ..sealed }), Err(OpenError::Changed));
    }

    #[test]
    fn a_new_key_closes_and_the_old_one_still_opens_until_it_is_dropped() {
        let old = ring();
        let sealed = seal(old.public(), &binding("a.com"), b"hidden").unwrap();
        let both = old.with_new(KeyPair::generate().unwrap());
        assert_ne!(both.public().id(), old.public().id());
        assert!(both.open(&sealed).is_ok());
        let read = KeyRing::parse(&format!("# keys\n\n{}", *both.to_text())).unwrap();
        assert_eq!(read.ids(), both.ids());
        assert!(read.open(&sealed).is_ok());
        assert!(matches!(both.newest_alone().open(&sealed), Err(OpenError::UnknownKey(_))));
    }

    #[test]
    fn the_authority_stays_while_keys_come_and_go() {
        let old = ring();
        assert!(!old.to_text().contains(AUTHORITY), "the first key says it");
        let both = old.with_new(KeyPair::generate().unwrap());
        let alone = both.newest_alone();
        for ring in [&both, &alone, &alone.with_new(KeyPair::generate().unwrap())] {
            assert_eq!(ring.authority(), old.authority());
            let text = ring.to_text();
            assert_eq!(KeyRing::parse(&text).unwrap().authority(), old.authority());
            assert!(text.contains(AUTHORITY) && !format!("{ring:?}").contains(text.split_whitespace().nth(2).unwrap()));
            assert!(KeyRing::parse(&format!("{}{AUTHORITY} AAAA\n", *text)).is_none(), "one at most");
        }
        assert!(KeyRing::parse(&format!("{}{AUTHORITY} AAAA\n", *old.to_text())).is_none(), "too short");
        assert_ne!(ring().authority(), old.authority());
    }

    #[test]
    fn texts_that_are_none_are_refused() {
        let ring = ring();
        let text = seal(ring.public(), &binding("a.com"), b"hidden").unwrap().to_string();
        for bad in
            ["", "ostler1", "ostler1.x.y.z.w", &format!("{text}.more"), &text.replacen("ostler1", "ostler2", 1), &"x".repeat(1 << 20)]
        {
            assert_eq!(bad.parse::<Sealed>(), Err(SealError::Malformed), "{bad:.40}");
        }
        let line = ring.to_text();
        let halves: Vec<&str> = line.split_whitespace().collect();
        let foreign = super::tests::ring().to_text();
        let other: Vec<&str> = foreign.split_whitespace().collect();
        for bad in ["", "# nothing", "ostler-key-1 a b", &format!("{} {} {}", halves[0], halves[1], other[2])] {
            assert!(KeyRing::parse(bad).is_none(), "{bad:.40}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_kept(secret in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let ring = ring();
            let sealed: Sealed = seal(ring.public(), &binding("a.com"), &secret).unwrap().to_string().parse().unwrap();
            let (_, opened) = ring.open(&sealed).unwrap();
            proptest::prop_assert_eq!(opened.expose(), &secret[..]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = text.parse::<Sealed>();
            let _ = KeyRing::parse(&text);
        }
    }
}
