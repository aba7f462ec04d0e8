//! What a sandbox may.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::policy::Policy;
use crate::ids::{CredentialId, OrganizationId, SessionId, WorkspaceId};

/// What a sandbox may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The tenant.
    pub organization: OrganizationId,
    /// The unit of isolation inside it.
    pub workspace: WorkspaceId,
    /// Where it may go.
    pub policy: Policy,
    /// What it may use.
    pub grants: Vec<SealedGrant>,
}

/// A placeholder of a sandbox, and the closed secret behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedGrant {
    /// What the sandbox sees.
    pub placeholder: String,
    /// The credential, which the seal must name.
    pub credential: CredentialId,
    /// The secret, in text form.
    pub sealed: String,
}

/// A credential that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable {
    /// Which.
    pub credential: CredentialId,
    /// Why, for the operator.
    pub reason: String,
}

/// The placeholder of a secret in a session: what the sandbox sees in the variable of that name. It stays the same when the secret
/// is changed, and says nothing of it; without the sandbox's own way out it is of no use to anybody.
pub fn placeholder(session: &SessionId, name: &str) -> String {
    use std::fmt::Write as _;

    let digest = Sha256::digest(format!("ostler placeholder 1\0{session}\0{name}").as_bytes());
    let mut text = String::from("ostler_");
    for byte in digest.iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_of_one_session_and_one_name() {
        let (one, other): (SessionId, SessionId) = ("sesn_1".parse().unwrap(), "sesn_2".parse().unwrap());
        let first = placeholder(&one, "TOKEN");
        assert_eq!(first, placeholder(&one, "TOKEN"));
        assert!(first.len() == 39 && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        assert_ne!(first, placeholder(&one, "TOKEM"));
        assert_ne!(first, placeholder(&other, "TOKEN"));
    }
}
