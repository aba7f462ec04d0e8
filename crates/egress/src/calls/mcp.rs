//! MCP servers: the token of a credential goes into the one header that it is for, to the one address that it is bound to.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use ostler_core::egress::calls::{ORGANIZATION, SEALED, URL, WORKSPACE};
use ostler_core::egress::policy::Code;
use ostler_core::ids::{OrganizationId, WorkspaceId};
use ostler_core::resources::credential::{ACCESS_TOKEN, TOKEN, mcp_key};
use ostler_seal::open::Secret;
use ostler_seal::{Binding, Bound, Sealed};

use super::outbound::{self, Behalf, Destination, Whose};
use super::{Failed, take};
use crate::body::{self, Body};
use crate::grants;
use crate::limits;
use crate::replace::Table;
use crate::service::Egress;

/// Passes a request on to an MCP server.
pub(super) async fn call(egress: &Arc<Egress>, mut request: Request<Incoming>) -> Result<Response<Body>, Failed> {
    let headers = request.headers_mut();
    let url = take(headers, URL).unwrap_or_default();
    let whose = Whose::take(headers);
    let organization = take(headers, ORGANIZATION).and_then(|id| id.parse::<OrganizationId>().ok());
    let workspace = take(headers, WORKSPACE).and_then(|id| id.parse::<WorkspaceId>().ok());
    let sealed = take(headers, SEALED);
    let to = Destination::of(&url)?;
    // Nothing that the server says proves who it is at the other end.
    for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    let mut behalf =
        Behalf { whose, workspace: workspace.clone(), credential: None, scrubs: Arc::default(), rule: "MCP servers of the agent" };
    if let Some(sealed) = sealed {
        to.must_be_secure()?;
        let (binding, token) = opened(egress, &to, &url, &sealed, (organization, workspace))?;
        behalf.scrubs = Arc::new(Table::new(grants::forms_of(token.expose(), b"[redacted]")));
        behalf.credential = Some((binding.credential, binding.version));
        let value = [b"Bearer ", token.expose()].concat();
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|_| Failed::new(&to.host, Code::BadRequest, "the token of the credential cannot stand in a header"))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let response = outbound::send(egress, &to, behalf, request.map(body::incoming)).await?;
    let is_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    // The server reads it as a whole.
    Ok(if is_stream { response } else { response.map(|content| body::at_most(content, limits::MCP_ANSWER_BYTES)) })
}

/// Opens the token of a credential, if it is bound to this address and owned by who asks.
fn opened(
    egress: &Egress,
    to: &Destination,
    url: &str,
    sealed: &str,
    owner: (Option<OrganizationId>, Option<WorkspaceId>),
) -> Result<(Binding, Secret), Failed> {
    let refused = |why: &str| Failed::new(&to.host, Code::BadRequest, why);
    let sealed: Sealed = sealed.parse().map_err(|_| refused("the token of the credential cannot be read"))?;
    let (binding, token) = egress.ring().open(&sealed).map_err(|_| refused("the token of the credential does not open; set it again"))?;
    let is_owner = owner == (Some(binding.organization.clone()), Some(binding.workspace.clone()));
    let (Bound::StaticBearer { url: bound } | Bound::McpOauth { url: bound, .. }) = &binding.bound else {
        return Err(refused("the credential is not for an MCP server"));
    };
    let is_token = [TOKEN, ACCESS_TOKEN].contains(&binding.part.as_str());
    if !is_owner || !is_token || mcp_key(bound) != mcp_key(url) {
        return Err(refused("the credential is for another place"));
    }
    Ok((binding, token))
}
