//! What the platform and egress say to each other about sandboxes: where they may go, what they may use, what they did.

mod environment;
pub mod policy;
mod record;
mod terms;

pub use environment::PACKAGE_HOSTS;
pub use record::{Lost, Record};
pub use terms::{SealedGrant, Terms, Unusable, placeholder};
