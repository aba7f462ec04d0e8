//! Trying a credential at its MCP server.

use std::sync::Arc;

use ostler_core::resources::validation::{HttpAnswer, McpProbe, RefreshAttempt, RefreshStatus, ValidationStatus};
use ostler_mcp::{METHOD, Probe, Target, probe};
use ostler_store::Document;

use super::credential::{Found, NotRenewed, renew};
use crate::egress::EgressError;
use crate::router::SessionRouter;
use crate::session::deps::Deps;

/// What trying a credential brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The verdict.
    pub status: ValidationStatus,
    /// What went wrong at the MCP server.
    pub mcp_probe: Option<McpProbe>,
    /// What renewing the token brought.
    pub refresh: Option<RefreshAttempt>,
}

impl SessionRouter {
    /// Tries an OAuth credential. A token that has ended, or that is not taken, is renewed if it can be, and kept.
    ///
    /// # Errors
    /// When egress cannot be asked.
    pub async fn try_credential(&self, document: Document) -> Result<Tried, EgressError> {
        let deps = self.deps();
        let found = Found::of(document).ok_or_else(|| EgressError::Refused("the credential cannot be read".into()))?;
        let mut tried = Tried { status: ValidationStatus::Unknown, mcp_probe: None, refresh: None };
        let (found, is_new) = if found.is_over(deps.ambient.now()) {
            match renewed(deps, &found, &mut tried).await {
                Some(found) => (found, true),
                None => return Ok(tried),
            }
        } else {
            (found, false)
        };
        let answered = ask(deps, &found).await?;
        let is_refused = matches!(&answered, Probe::Answered(HttpAnswer { status_code: 401 | 403, .. }));
        let answered = if is_refused && !is_new && found.can_renew() {
            match renewed(deps, &found, &mut tried).await {
                Some(found) => ask(deps, &found).await?,
                None => answered,
            }
        } else {
            answered
        };
        judge(answered, &mut tried);
        Ok(tried)
    }
}

/// Renews, and notes how that went.
async fn renewed(deps: &Arc<Deps>, found: &Found, tried: &mut Tried) -> Option<Found> {
    let (status, http_response, verdict) = match renew(deps, found).await {
        Ok(found) => {
            tried.refresh = Some(RefreshAttempt { http_response: None, status: RefreshStatus::Succeeded });
            return Some(found);
        }
        Err(NotRenewed::NoRefreshToken) => (RefreshStatus::NoRefreshToken, None, ValidationStatus::Invalid),
        Err(NotRenewed::Failed(Some(answer))) => {
            let passes = answer.status_code == 429 || answer.status_code >= 500;
            let verdict = if passes { ValidationStatus::Unknown } else { ValidationStatus::Invalid };
            (RefreshStatus::Failed, Some(answer), verdict)
        }
        Err(NotRenewed::Failed(None)) => (RefreshStatus::ConnectError, None, ValidationStatus::Unknown),
        Err(NotRenewed::Unavailable(why)) => {
            tracing::warn!(credential = %found.credential, why, "a token could not be renewed");
            (RefreshStatus::ConnectError, None, ValidationStatus::Unknown)
        }
    };
    tried.refresh = Some(RefreshAttempt { http_response, status });
    tried.status = verdict;
    None
}

async fn ask(deps: &Deps, found: &Found) -> Result<Probe, EgressError> {
    let socket = deps.egress.calls().ok_or_else(|| EgressError::Unavailable("this server has no egress".into()))?.to_owned();
    let (organization, workspace) = found.tenant();
    let target = Target { socket, url: found.address(), session: None, organization, workspace, sealed: found.token().cloned() };
    probe(&target).await.map_err(|failure| EgressError::Unavailable(failure.to_string()))
}

fn judge(answered: Probe, tried: &mut Tried) {
    let failed = |http_response| Some(McpProbe { http_response, method: METHOD.to_owned() });
    match answered {
        Probe::Welcome => tried.status = ValidationStatus::Valid,
        Probe::Answered(answer) => {
            let is_refused = matches!(answer.status_code, 401 | 403);
            tried.mcp_probe = failed(Some(answer));
            tried.status = if is_refused { ValidationStatus::Invalid } else { ValidationStatus::Unknown };
        }
        Probe::Unreachable(why) => {
            tracing::info!(why, "the MCP server of a credential was not reached");
            tried.mcp_probe = failed(None);
            tried.status = ValidationStatus::Unknown;
        }
    }
}
