//! Every id of the platform: a type of its own with a visible prefix, declared once, here.
//!
//! Ids are opaque to clients. Ours are a prefix and 26 characters of Crockford base32 over a
//! 48-bit millisecond timestamp and 80 random bits, so that they sort roughly by creation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind} id")]
pub struct ParseIdError {
    /// The kind that was expected, as its prefix without the underscore.
    pub kind: &'static str,
}

/// Makes ids from a time and a seed, without IO: the same inputs give the same ids.
#[derive(Debug, Clone)]
pub struct IdSource {
    millis: u64,
    state: u64,
}

impl IdSource {
    /// `millis` since the Unix epoch; `seed` must not repeat within one millisecond.
    pub fn new(millis: u64, seed: u64) -> Self {
        Self { millis, state: seed }
    }

    /// The next 64 bits of the sequence (splitmix64).
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn text(&mut self) -> String {
        let high = self.next_u64() & 0xffff;
        let bits = (u128::from(self.millis & 0xffff_ffff_ffff) << 80) | (u128::from(high) << 64) | u128::from(self.next_u64());
        let mut out = String::with_capacity(26);
        for shift in (0..26).rev() {
            let digit = (bits >> (shift * 5)) & 31;
            out.push(char::from(ALPHABET[digit as usize]));
        }
        out
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The longest id accepted on input, prefix included.
const MAX_ID_LENGTH: usize = 64;

fn is_id_text(rest: &str) -> bool {
    !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The prefix of this kind, with its underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id.
            pub fn mint(source: &mut IdSource) -> Self {
                Self(format!("{}{}", $prefix, source.text()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                match text.strip_prefix($prefix) {
                    Some(rest) if text.len() <= MAX_ID_LENGTH && is_id_text(rest) => Ok(Self(text.to_owned())),
                    _ => Err(ParseIdError { kind: $prefix.trim_end_matches('_') }),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// The tenant.
    OrganizationId = "org_";
    /// The unit of isolation inside an organization.
    WorkspaceId = "wrkspc_";
    /// An API key; the secret part is never stored.
    ApiKeyId = "apikey_";
    /// An agent definition.
    AgentId = "agent_";
    /// An environment: what a sandbox offers.
    EnvironmentId = "env_";
    /// A vault: credentials that sessions may use.
    VaultId = "vlt_";
    /// A credential of a vault.
    CredentialId = "vcrd_";
    /// A question to a person about a request of a sandbox.
    ConfirmationId = "conf_";
    /// A session.
    SessionId = "sesn_";
    /// One context inside a session.
    ThreadId = "sthr_";
    /// A wire event, and with it a tool call (answers name the event of the call).
    EventId = "sevt_";
    /// Work that a session asked for; its result comes back under this id.
    EffectId = "eff_";
    /// One life of a sandbox's PID 1.
    IncarnationId = "inc_";
    /// One HTTP request, echoed in the `request-id` header.
    RequestId = "req_";
    /// One set of events posted together.
    CommandId = "cmd_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_parse_and_sort_by_time() {
        let early = SessionId::mint(&mut IdSource::new(1_000, 7));
        let late = SessionId::mint(&mut IdSource::new(2_000, 3));
        assert!(early < late);
        assert_eq!(early.as_str().parse::<SessionId>(), Ok(early.clone()));
        assert_eq!(early.as_str().len(), "sesn_".len() + 26);
    }

    #[test]
    fn the_same_seed_gives_the_same_ids_and_a_source_does_not_repeat() {
        let mut a = IdSource::new(5, 9);
        let mut b = IdSource::new(5, 9);
        let first = EventId::mint(&mut a);
        assert_eq!(first, EventId::mint(&mut b));
        assert_ne!(first, EventId::mint(&mut a));
    }

    #[test]
    fn foreign_text_is_refused() {
        for text in ["", "sesn_", "agent_x", "sesn_../..", "sesn_a b", "SESN_abc"] {
            assert!(text.parse::<SessionId>().is_err(), "{text:?}");
        }
        let long = format!("sesn_{}", "a".repeat(100));
        assert!(long.parse::<SessionId>().is_err());
    }
}
