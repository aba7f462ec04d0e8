//! `/v1/sessions/{id}/events`: sending events and reading a session's history.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use ostler_core::error::Refusal;
use ostler_core::events::client::{self, ClientEvent};
use ostler_core::events::wire::{Event, LISTABLE_KINDS};
use ostler_core::ids::SessionId;
use ostler_core::time::Timestamp;
use ostler_runtime::router::Command;
use ostler_store::{Cursor, Direction, EventQuery, Order, StoreError, StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::error::ApiResult;
use crate::limits;
use crate::pagination::{self, List, ListPage};
use crate::path::{Id, PathId as _};
use crate::query::Params;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(send, list))
}

/// Events for a session; all or nothing.
#[derive(Debug, Deserialize, ToSchema)]
struct SendParams {
    /// The events, in order.
    #[schema(value_type = Vec<ClientEvent>)]
    events: Vec<Value>,
}

/// The events with their ids.
#[derive(Debug, Serialize, ToSchema)]
struct Sent {
    /// In the order in which they were sent.
    data: Vec<Event>,
}

/// Sends events to a session.
///
/// All of them are taken or none, and they are on disk when this answers. A message to an idle session starts a
/// turn; while a turn runs, messages wait for the next one. Confirmations and tool results must answer calls
/// that wait.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/events", operation_id = "send_events", tag = "events",
    params(("session_id" = SessionId, Path, description = "The session.")), request_body = SendParams, responses((status = 200, body = Sent)))]
async fn send(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<SessionId>,
    JsonBody(params, _room): JsonBody<SendParams>,
) -> ApiResult<Json<Sent>> {
    let events = client::parse(params.events)?;
    let reply = api.state.router.submit(&caller.scope, &id, Command::Send(events)).await?;
    Ok(Json(Sent { data: reply.echo }))
}

/// Lists the events of a session, oldest first.
///
/// `order` turns that round. Events that were accepted and not processed yet are not listed. A page can be
/// shorter than `limit` although more follow: read on while `next_page` is there.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/events", operation_id = "list_events", tag = "events",
    params(
        ("session_id" = SessionId, Path, description = "The session."),
        ("types[]" = Option<Vec<String>>, Query, description = "Of these types."),
        ("created_at[gte]" = Option<Timestamp>, Query, description = "Processed at or after; also gt, lte and lt."),
        ("order" = Option<String>, Query, description = "asc (usual) or desc."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "1 to 1000; 100 when left out. A page can be shorter although more follow."),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<Event>)))]
async fn list(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>, params: Params) -> ApiResult<Response> {
    let kinds = params.all("types");
    if let Some(unknown) = kinds.iter().find(|kind| !LISTABLE_KINDS.contains(kind)) {
        let shown: String = unknown.chars().take(limits::REPEATED_CHARS).collect();
        return Err(Refusal::invalid(format!("types: {shown:?} is not a type of event that can be listed")).into());
    }
    let order = pagination::order(&params, Order::Ascending)?;
    let mut query = EventQuery { order, created: params.span("created_at")?, ..EventQuery::after(0, 0) };
    query.kinds = kinds.into_iter().map(str::to_owned).collect();
    history(&api, &caller, &id, &params, query).await
}

#[derive(Debug, Serialize)]
struct EventPage<'a> {
    data: Vec<&'a RawValue>,
    next_page: Option<String>,
}

/// One page of events, as they are stored.
pub(super) async fn history(api: &Api, caller: &Caller, id: &SessionId, params: &Params, mut query: EventQuery) -> ApiResult<Response> {
    let kind = format!("event:{id}");
    let cursors = List { kind: &kind, order: query.order };
    let request = cursors.request(params, limits::EVENTS_PAGE, limits::EVENTS_PAGE_MOST)?;
    if let Some(cursor) = &request.cursor {
        advance(&mut query, u64::try_from(cursor.sort_key).unwrap_or(0));
    }
    let (events, more) = read(api, caller, id, query, request.limit).await?;
    let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("an event of {id}: {error}"));
    let data = events.iter().map(|event| serde_json::from_str(&event.body).map_err(corrupt)).collect::<Result<Vec<_>, _>>()?;
    let last = events.last().filter(|_| more);
    let cursor = |event: &StoredEvent| Cursor { sort_key: i64::try_from(event.position).unwrap_or(i64::MAX), id: String::new() };
    let page = EventPage { data, next_page: last.map(|event| cursors.token(cursor(event), Direction::Forward)) };
    let text = serde_json::to_string(&page).map_err(corrupt)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response())
}

/// Moves a query behind a position, in its order.
fn advance(query: &mut EventQuery, position: u64) {
    match query.order {
        Order::Ascending => query.after = Some(position),
        Order::Descending => query.before = Some(position),
    }
}

/// Up to `limit` events, fewer where they are large, and whether more follow.
async fn read(api: &Api, caller: &Caller, id: &SessionId, mut query: EventQuery, limit: usize) -> ApiResult<(Vec<StoredEvent>, bool)> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    loop {
        query.limit = (limit - events.len() + 1).min(limits::EVENTS_READ);
        let found = api.state.store.events(&caller.scope, id, &query).await?;
        let found = found.ok_or_else(|| SessionId::missing(id.as_str()))?;
        let ended = found.len() < query.limit;
        for event in found {
            if events.len() == limit || bytes > limits::EVENTS_PAGE_BYTES {
                return Ok((events, true));
            }
            bytes += event.body.len();
            advance(&mut query, event.position);
            events.push(event);
        }
        if ended {
            return Ok((events, false));
        }
    }
}
