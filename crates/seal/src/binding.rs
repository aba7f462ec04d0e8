//! What a secret is bound to.

use ostler_core::ids::{CredentialId, OrganizationId, VaultId, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Whose secret it is and where it may go. Who opens it believes this and nothing that stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The tenant.
    pub organization: OrganizationId,
    /// The unit of isolation inside it.
    pub workspace: WorkspaceId,
    /// The vault that holds the credential.
    pub vault: VaultId,
    /// The credential.
    pub credential: CredentialId,
    /// Which secret of the credential, such as `access_token`.
    pub part: String,
    /// How often it has been sealed; a former seal is not this one.
    pub version: u64,
    /// Where it may go.
    pub bound: Bound,
}

/// Where a secret may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Bound {
    /// To one MCP server, as a bearer token.
    StaticBearer {
        /// Its address.
        url: String,
    },
    /// To one MCP server, as a bearer token; and to the endpoint that renews it.
    McpOauth {
        /// Its address.
        url: String,
        /// Where the token is renewed, if it can be.
        token_endpoint: Option<String>,
    },
    /// Into requests to hosts, in the place of a placeholder.
    EnvironmentVariable {
        /// The variable that holds the placeholder.
        name: String,
        /// The hosts.
        hosts: Hosts,
        /// The places of a request.
        places: Places,
    },
}

/// Hosts that a secret may go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// Every one that the sandbox may reach.
    Any,
    /// These: names, addresses, and `*.` with a name for all below it.
    Only(Vec<String>),
}

/// Places of a request in which a placeholder is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// Headers, Basic authentication and the query.
    pub header: bool,
    /// The body.
    pub body: bool,
}
