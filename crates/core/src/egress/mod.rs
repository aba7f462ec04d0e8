//! What the platform and egress say to each other about sandboxes: where they may go, what they may use, what they did.

pub mod calls;
mod environment;
pub mod policy;
mod record;
mod terms;

pub use environment::PACKAGE_HOSTS;
pub use record::Record;
pub use terms::{SealedGrant, Terms, placeholder};
