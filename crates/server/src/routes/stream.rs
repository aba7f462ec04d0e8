//! `/v1/sessions/{id}/events/stream`: what happens in a session, as it happens.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use ostler_core::error::{Refusal, check_count};
use ostler_core::ids::SessionId;
use ostler_runtime::subscribe::{Previews, StartAt};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::limits;
use crate::path::Id;
use crate::query::Params;
use crate::sse;

const LAST_EVENT_ID: &str = "last-event-id";

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Streams a session's events from now on, or from a position on.
///
/// Server-sent events. Stays open while the session is idle, with a comment as a sign of life; ends after
/// `session.deleted`, when the key is revoked and when the server stops. Frames of stored events carry their
/// position as `id`; who sends that back as `Last-Event-ID` goes on without gap or duplicate.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/events/stream", operation_id = "stream_events", tag = "events",
    params(
        ("session_id" = SessionId, Path, description = "The session."),
        ("event_deltas[]" = Option<Vec<String>>, Query, description = "Previews while they are made: agent.message, agent.thinking."),
        ("after" = Option<u64>, Query, description = "Start behind this position (the id of a frame). An extension."),
        ("last-event-id" = Option<u64>, Header, description = "The same; wins over after."),
    ),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "Frames with event, data and, for what is stored, id.")))]
async fn stream(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>, params: Params, headers: HeaderMap) -> ApiResult<Response> {
    follow(api, caller, &id, &params, &headers).await
}

/// The stream of a session.
pub(super) async fn follow(api: Api, caller: Caller, id: &SessionId, params: &Params, headers: &HeaderMap) -> ApiResult<Response> {
    let (previews, from) = (previews(params)?, start(params, headers)?);
    let slot = api.streams.take(&caller.key)?;
    let follower = api.state.router.follow(&caller.scope, id, from, previews).await?;
    Ok(sse::response(api, caller, follower, slot))
}

fn previews(params: &Params) -> Result<Previews, Refusal> {
    let wanted = params.all("event_deltas");
    check_count("event_deltas", wanted.len(), limits::EVENT_DELTAS)?;
    let mut previews = Previews::default();
    for kind in wanted {
        match kind {
            "agent.message" => previews.message = true,
            "agent.thinking" => previews.thinking = true,
            _ => return Err(Refusal::invalid("event_deltas: must be agent.message or agent.thinking")),
        }
    }
    Ok(previews)
}

fn start(params: &Params, headers: &HeaderMap) -> Result<StartAt, Refusal> {
    let header = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?").trim()).filter(|text| !text.is_empty());
    match header {
        Some(text) => {
            text.parse().map(StartAt::After).map_err(|_| Refusal::invalid("last-event-id: must be the id of a frame of this stream"))
        }
        None => Ok(params.number("after")?.map_or(StartAt::Now, StartAt::After)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_kinds_have_previews() {
        let parse = |query: &str| previews(&Params::parse(query).unwrap());
        assert_eq!(parse("").unwrap(), Previews::default());
        assert_eq!(
            parse("event_deltas[]=agent.message&event_deltas[]=agent.thinking").unwrap(),
            Previews { message: true, thinking: true }
        );
        assert!(parse("event_deltas[]=agent.tool_use").unwrap_err().message.contains("event_deltas"));
        assert!(parse(&"event_deltas[]=agent.message&".repeat(101)).unwrap_err().message.contains("event_deltas"));
    }

    #[test]
    fn the_header_wins_over_the_query() {
        let at = |query: &str, header: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(LAST_EVENT_ID, text.parse().unwrap());
            }
            start(&Params::parse(query).unwrap(), &headers)
        };
        assert_eq!(at("", None), Ok(StartAt::Now));
        assert_eq!(at("after=3", None), Ok(StartAt::After(3)));
        assert_eq!(at("after=3", Some("9")), Ok(StartAt::After(9)));
        assert_eq!(at("", Some("")), Ok(StartAt::Now));
        for (query, header) in [("after=x", None), ("after=-1", None), ("", Some("x")), ("after=1", Some("sevt_1"))] {
            assert!(at(query, header).is_err(), "{query} {header:?}");
        }
    }
}
