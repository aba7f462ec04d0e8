//! What a sandbox may.

use crate::hex::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::policy::Policy;
use super::question::Answered;
use crate::ids::{CredentialId, OrganizationId, SessionId, WorkspaceId};
use crate::resources::egress::EgressSettings;

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
    /// What people answered about its requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answered>,
    /// How much it may.
    #[serde(default)]
    pub caps: Caps,
}

/// How much a sandbox may. What is none has no cap of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Connections at once.
    pub connections: Option<u64>,
    /// Bytes that it sends and receives together.
    pub bytes: Option<u64>,
    /// Bytes a second of the same.
    pub bytes_per_second: Option<u64>,
}

impl Caps {
    /// What an environment asks, up to the most that there is.
    pub fn of(asked: Option<&EgressSettings>, most: &EgressSettings) -> Self {
        let least = |of: fn(&EgressSettings) -> Option<u64>, unit: u64| {
            let said = [asked.and_then(of), of(most)];
            said.into_iter().flatten().min().map(|said| said.saturating_mul(unit))
        };
        Self {
            connections: least(|settings| settings.connections, 1),
            bytes: least(|settings| settings.transfer_mib, 1 << 20),
            bytes_per_second: least(|settings| settings.rate_kib, 1 << 10),
        }
    }
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
    let digest = Sha256::digest(format!("ostler placeholder 1\0{session}\0{name}").as_bytes());
    format!("ostler_{}", hex(&digest[..16]))
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

    #[test]
    fn an_environment_gets_what_it_asks_up_to_the_most() {
        let settings = |connections, transfer_mib, rate_kib| EgressSettings { connections, transfer_mib, rate_kib, ..Default::default() };
        let most = settings(Some(10), None, Some(64));
        let caps = Caps::of(Some(&settings(Some(20), Some(3), None)), &most);
        assert_eq!(caps, Caps { connections: Some(10), bytes: Some(3 << 20), bytes_per_second: Some(64 << 10) });
        assert_eq!(Caps::of(None, &EgressSettings::default()), Caps::default());
    }
}
