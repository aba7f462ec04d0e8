//! What the platform and egress say to each other about sandboxes: where they may go, what they may use, what they did.

pub mod calls;
mod environment;
pub(crate) mod path;
pub mod policy;
mod question;
mod record;
mod rules;
mod terms;

pub use environment::PACKAGE_HOSTS;
pub use question::{Answered, Question};
pub use record::{Lost, Record};
pub use rules::{Judged, JudgedRequest};
pub use terms::{Caps, SealedGrant, Terms, Unusable, placeholder};
