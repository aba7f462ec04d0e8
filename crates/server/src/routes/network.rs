//! `/v1/x/sessions/{id}/network`: what the sandbox of a session did in the network.

use axum::Json;
use axum::extract::State;
use ostler_core::error::Refusal;
use ostler_core::ids::SessionId;
use ostler_core::resources::network::NetworkEntry;
use ostler_core::time::Timestamp;
use ostler_store::{Cursor, Direction, NetworkLine, NetworkQuery, Order, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::limits;
use crate::pagination::{List, ListPage};
use crate::path::{Id, PathId as _};
use crate::query::Params;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// One line of the network log of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NetworkLogLine {
    /// When it began.
    at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    entry: NetworkEntry,
}

/// Lists what the sandbox of a session did in the network, newest first.
///
/// Requests where they could be seen, else connections, with what was decided and why; never a query, a header or a body. The
/// newest 10,000 lines of at most 30 days, within a second of the end of a request. A line `network_dropped` says how many were
/// not written down because too many came at once; it fits no filter. Send `next_page` as `page` for more, with the same
/// filters. An extension.
#[utoipa::path(get, path = "/v1/x/sessions/{session_id}/network", operation_id = "list_network", tag = "platform",
    params(
        ("session_id" = SessionId, Path, description = "The session."),
        ("decision" = Option<String>, Query, description = "allowed, or denied."),
        ("host" = Option<String>, Query, description = "Of this host, as it is in the log."),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 when left out.", minimum = 1, maximum = 1000),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<NetworkLogLine>)))]
async fn list(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>, params: Params) -> ApiResult<Json<ListPage<NetworkLogLine>>> {
    let is_allowed = match params.one("decision") {
        None => None,
        Some("allowed") => Some(true),
        Some("denied") => Some(false),
        Some(_) => return Err(Refusal::invalid("decision: must be allowed or denied").into()),
    };
    let kind = format!("network:{id}");
    let cursors = List { kind: &kind, order: Order::Descending };
    let request = cursors.request(&params, limits::NETWORK_PAGE, limits::LONG_PAGE_MOST)?;
    let before = request.cursor.map(|cursor| u64::try_from(cursor.sort_key).unwrap_or(0));
    // One more tells whether there are more.
    let query = NetworkQuery { host: params.one("host").map(str::to_ascii_lowercase), is_allowed, before, limit: request.limit + 1 };
    let lines = api.state.store.network_lines(&caller.scope, &id, &query).await?;
    let mut lines = lines.ok_or_else(|| SessionId::missing(id.as_str()))?;
    let has_more = lines.len() > request.limit;
    lines.truncate(request.limit);
    let cursor = |line: &NetworkLine| Cursor { sort_key: i64::try_from(line.position).unwrap_or(i64::MAX), id: String::new() };
    let next_page = lines.last().filter(|_| has_more).map(|line| cursors.token(cursor(line), Direction::Forward));
    let data = lines.iter().map(|line| read(&id, line)).collect::<Result<_, _>>()?;
    Ok(Json(ListPage { data, next_page }))
}

fn read(session: &SessionId, line: &NetworkLine) -> Result<NetworkLogLine, StoreError> {
    let entry = serde_json::from_str(&line.body);
    let entry = entry.map_err(|error| StoreError::Corrupt(format!("a line of the network log of {session}: {error}")))?;
    Ok(NetworkLogLine { at: line.at, entry })
}
