//! `/metrics`: counters of the whole server for whoever watches it. No label has text that a tenant chose.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use ostler_core::error::Refusal;
use ostler_runtime::network_log::EgressCounts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::{self, Caller};
use crate::error::{ApiError, ApiResult};

/// Where it is.
pub(crate) const PATH: &str = "/metrics";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(metrics))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    code: String,
}

/// Counters of the server, for Prometheus.
///
/// Of all workspaces together, since the start of the server. With OSTLER_METRICS_TOKEN set, that is the key; without, an API key
/// is, as long as the server has one workspace. An extension.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "platform",
    responses((status = 200, description = "OpenMetrics text.", content_type = "application/openmetrics-text", body = String)))]
async fn metrics(State(api): State<Api>, headers: HeaderMap, caller: Result<Caller, ApiError>) -> ApiResult<Response> {
    match &api.state.config.metrics_token {
        Some(token) if auth::has_token(&headers, token) => {}
        Some(_) => return Err(ApiError::unauthorized()),
        None => {
            caller?;
            if api.state.store.has_several_workspaces().await? {
                return Err(Refusal::invalid(
                    "the server has several workspaces, and what it counts is of all of them: set OSTLER_METRICS_TOKEN and send it as the key",
                )
                .into());
            }
        }
    }
    let text = text(&api.state.router.egress_counts()).map_err(|_| ApiError::internal())?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn text(counts: &EgressCounts) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("ostler_egress");
    let requests = Family::<Decided, Counter>::default();
    for (code, count) in &counts.requests {
        let code = serde_json::to_value(code).ok().and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
        requests.get_or_create(&Decided { code }).inc_by(*count);
    }
    registry.register("requests", "Requests and connections of sandboxes, by what was decided", requests);
    for (name, help, count) in [
        ("sent_bytes", "Bytes that left sandboxes", counts.sent),
        ("received_bytes", "Bytes that sandboxes got", counts.received),
        ("records_dropped", "Requests and connections that were not written down", counts.dropped),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
    let sandboxes = Gauge::<i64>::default();
    sandboxes.set(i64::try_from(counts.sandboxes).unwrap_or(i64::MAX));
    registry.register("sandboxes", "Sandboxes that are served now", sandboxes);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use ostler_core::egress::policy::Code;

    use super::*;

    #[test]
    fn counters_are_written_as_openmetrics() {
        let requests = [(Code::Allowed, 3), (Code::HostNotAllowed, 1)].into();
        let text = text(&EgressCounts { requests, sent: 5, received: 7, dropped: 2, sandboxes: 4 }).unwrap();
        for line in [
            "# TYPE ostler_egress_requests counter",
            "ostler_egress_requests_total{code=\"allowed\"} 3",
            "ostler_egress_requests_total{code=\"host_not_allowed\"} 1",
            "ostler_egress_sent_bytes_total 5",
            "ostler_egress_received_bytes_total 7",
            "ostler_egress_records_dropped_total 2",
            "ostler_egress_sandboxes 4",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
