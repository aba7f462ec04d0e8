//! `web_search`: asks the operator's search engine and shows what the agent may see of it.

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::egress::calls::{CALL, SESSION};
use ostler_core::resources::web::SearchSettings;
use ostler_core::session::calls::Call;
use serde_json::Value;

use super::ask::{self, Unanswered};
use super::engine::{self, Engine};
use super::{Behalf, command, results};
use crate::limits;
use crate::session::deps::Deps;

/// The outcome of a call. It changes nothing, so it may be made again.
pub(crate) async fn search(deps: &Deps, behalf: &Behalf, call: &Call) -> CallOutcome {
    match found(deps, behalf, call).await {
        Ok(text) => CallOutcome::text(text, false, CallEnd::Finished),
        Err(why) => CallOutcome::text(why, true, CallEnd::Finished),
    }
}

async fn found(deps: &Deps, behalf: &Behalf, call: &Call) -> Result<String, String> {
    let query = call.input.get("query").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if query.is_empty() {
        return Err("invalid_input: say what to search for in `query`.".into());
    }
    if query.chars().count() > limits::WEB_QUERY_CHARS {
        return Err(format!("query_too_long: a query has at most {} characters.", limits::WEB_QUERY_CHARS));
    }
    let Some(engine) = &deps.web.engine else {
        return Err(
            "unavailable: no search engine is configured on this server; its operator can set one in [search] of the settings.".into()
        );
    };
    let settings = SearchSettings::of(&behalf.agent.tools);
    let turn = tokio::time::timeout(limits::WEB_TURN, deps.web.searches.take(&behalf.workspace)).await;
    let _turn = turn.map_err(|_| "too_many_requests: the server searches for others; try again later.".to_owned())?;
    let answer = match engine {
        Engine::Command(line) => command::run(line, query, &settings).await.map_err(|why| {
            tracing::warn!(session = %behalf.session, %why, "the search command failed");
            "unavailable: the search failed; the server's log says why.".to_owned()
        })?,
        Engine::Searxng | Engine::Brave => {
            let request = engine::question(engine, query, &settings).header(SESSION, behalf.session.as_str());
            let request = request.header(CALL, call.id.as_str());
            let response = ask::ask(deps.egress.calls(), request).await.map_err(|unanswered| {
                if let Unanswered::Refused { message, .. } = unanswered {
                    tracing::warn!(session = %behalf.session, %message, "the search engine was not reached");
                }
                "unavailable: the search engine cannot be reached; try again later.".to_owned()
            })?;
            let status = response.status();
            if !status.is_success() {
                tracing::warn!(session = %behalf.session, %status, "the search engine refused a query");
                let why = if status.as_u16() == 429 { "too_many_requests" } else { "unavailable" };
                return Err(format!("{why}: the search engine answered {status}; try again later."));
            }
            response.into_body().to_vec()
        }
    };
    let found = engine::results(engine, &answer).map_err(|error| {
        tracing::warn!(session = %behalf.session, %error, "results of a search cannot be read");
        "unavailable: what the search engine answered cannot be read.".to_owned()
    })?;
    Ok(results::shown(&found, &settings))
}
