//! Which server is meant, and on whose behalf.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use ostler_core::egress::calls::{MCP_HOST, ORGANIZATION, SEALED, SESSION, URL, WORKSPACE};
use ostler_core::ids::{OrganizationId, SessionId, WorkspaceId};

use crate::Failure;

/// An MCP server as egress is asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Where egress takes calls of the server.
    pub socket: PathBuf,
    /// The address of the MCP server.
    pub url: String,
    /// The session on whose behalf it is used, for the record.
    pub session: Option<SessionId>,
    /// The tenant.
    pub organization: OrganizationId,
    /// The unit of isolation inside it.
    pub workspace: WorkspaceId,
    /// The sealed token that egress is to put in.
    pub sealed: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url).field("session", &self.session).finish_non_exhaustive()
    }
}

impl Target {
    /// The address that egress is asked at.
    pub(crate) fn uri() -> String {
        format!("http://{MCP_HOST}/")
    }

    /// What egress is told with every request.
    pub(crate) fn headers(&self) -> Result<HashMap<HeaderName, HeaderValue>, Failure> {
        let said = [
            (URL, Some(self.url.clone())),
            (SESSION, self.session.as_ref().map(ToString::to_string)),
            (ORGANIZATION, Some(self.organization.to_string())),
            (WORKSPACE, Some(self.workspace.to_string())),
            (SEALED, self.sealed.clone()),
        ];
        let mut headers = HashMap::new();
        for (name, value) in said {
            let Some(value) = value else { continue };
            let value =
                HeaderValue::from_str(&value).map_err(|_| Failure::connection("its address has characters that no request can carry"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}
