//! Egress: the only way out of sandboxes, and the only process that can open a secret.
//!
//! A connection from a sandbox comes in over a listener that only this sandbox can reach, so who asks is known without a
//! word. It says where it wants to go ([`proxy`] and [`transparent`]); the policy decides by name ([`ostler_core::egress::policy`]); the name is resolved once
//! and every address checked ([`resolve`], [`address`]); then bytes are relayed, or, where a secret may have to be put in, TLS
//! is opened with a certificate of this installation's [`authority`], requests are changed ([`inject`]) and answers scrubbed
//! ([`scrub`]). What the server itself asks of the outside comes over a socket ([`calls`]). The process that does all this
//! shuts itself off from the rest of the machine ([`confine`]). Everything that was decided is recorded ([`record`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod address;
mod authority;
mod body;
pub mod calls;
pub mod confine;
pub mod control;
mod dns;
mod forward;
mod framing;
mod grants;
mod hello;
mod inject;
mod intercept;
mod judge;
pub mod keystore;
pub mod limits;
mod machine;
mod oauth;
mod plain;
mod pool;
pub mod provider;
mod proxy;
mod questions;
pub mod record;
mod refusal;
mod relay;
mod replace;
mod resolve;
mod sandboxes;
mod scrub;
mod service;
mod shares;
mod traffic;
mod transparent;
mod trust;
mod upstream;
mod websocket;

pub use authority::{Authority, AuthorityError};
pub use grants::{Grant, GrantError, opened};
pub use machine::Machine;
pub use ostler_core::egress::{Record, SealedGrant, Terms, Unusable, policy};
pub use resolve::ResolveConfig;
pub use sandboxes::Doors;
pub use service::{Egress, EgressConfig, SearchEngine, StartError};
