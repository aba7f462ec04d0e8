//! Keys as the server knows them.

use ostler_seal::{KeyId, PublicKey};

/// The public halves of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// It closes.
    pub(crate) newest: PublicKey,
    /// They only open, the newest first.
    pub(crate) former: Vec<PublicKey>,
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.newest).chain(&self.former)
    }

    /// Their names, the newest first.
    pub(crate) fn ids(&self) -> Vec<KeyId> {
        self.all().map(PublicKey::id).collect()
    }

    /// In the form that [`Keys::parse`] reads.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.all().map(ToString::to_string).collect()
    }

    /// None where one cannot be read, or there is none.
    pub(crate) fn parse(texts: &[String]) -> Option<Self> {
        let mut keys = texts.iter().map(|text| PublicKey::parse(text));
        Some(Self { newest: keys.next()??, former: keys.collect::<Option<_>>()? })
    }
}
