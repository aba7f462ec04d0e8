//! Sealing of secrets: whoever has the public key can close one, and only egress can open it.
//!
//! What is sealed is the secret together with what it is bound to, so that a changed row of a database cannot
//! send it anywhere else. The sealing is HPKE in base mode ([RFC 9180]) with X25519, HKDF-SHA256 and
//! AES-256-GCM; the binding is its additional data.
//!
//! [RFC 9180]: https://www.rfc-editor.org/rfc/rfc9180
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod binding;
mod keys;
pub mod open;
mod sealed;
mod suite;

pub use binding::{Binding, Bound, Hosts, Places};
pub use keys::{KeyId, PublicKey};
pub use sealed::{SealError, Sealed, seal};
