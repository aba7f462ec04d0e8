//! The description of the API, made from the routes themselves so that it cannot say anything else.

use std::sync::OnceLock;

use bytes::Bytes;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder, SecurityRequirement};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;

use crate::api::Api;
use crate::error::{ErrorBody, ErrorDetails, ErrorEnvelope};
use crate::routes::{agents, api_keys, budget, environments, events, health, models, retry, sessions, stream, threads};

/// The errors that any operation with a key can answer.
const ERRORS: [(&str, &str); 9] = [
    ("400", "The request is wrong, or not possible in the present state."),
    ("401", "The key is missing or not valid."),
    ("404", "There is no such thing, or not for this key."),
    ("409", "Somebody else was faster, or something refers to it."),
    ("413", "The body is too large."),
    ("429", "Too many at once; retry-after says when to try again."),
    ("500", "An error of the server."),
    ("503", "Not now; retry-after says when to try again."),
    ("504", "The session did not answer in time."),
];

/// Every route of the API.
pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(bare())
        .merge(agents::routes())
        .merge(environments::routes())
        .merge(sessions::routes())
        .merge(events::routes())
        .merge(stream::routes())
        .merge(threads::routes())
        .merge(retry::routes())
        .merge(api_keys::routes())
        .merge(budget::routes())
        .merge(models::routes())
        .merge(health::routes())
}

/// The description of the API: OpenAPI 3.1.
pub fn openapi() -> OpenApi {
    let mut description = routes().into_openapi();
    let components = description.components.get_or_insert_with(Components::new);
    for (name, schema) in [
        (ErrorEnvelope::name(), ErrorEnvelope::schema()),
        (ErrorBody::name(), ErrorBody::schema()),
        (ErrorDetails::name(), ErrorDetails::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    for (status, text) in ERRORS {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorEnvelope::name()))).build();
        let response = ResponseBuilder::new().description(text).content("application/json", content).build();
        components.responses.insert(error_name(status), RefOr::T(response));
    }
    for operation in description.paths.paths.values_mut().flat_map(operations) {
        finish(operation);
    }
    description
}

/// The description as text, made once.
pub(crate) fn text() -> Bytes {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    // The description is data of this program; that it can be written is tested.
    TEXT.get_or_init(|| openapi().to_pretty_json().unwrap_or_default().into()).clone()
}

fn operations(item: &mut PathItem) -> Vec<&mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().filter_map(Option::as_mut).collect()
}

/// Adds what is the same everywhere: a word on success, which the format wants, and the errors of
/// operations that need a key.
fn finish(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "It is done.".to_owned();
        }
    }
    if operation.security.is_some() {
        return;
    }
    for (status, _) in ERRORS {
        let reference = Ref::new(format!("#/components/responses/{}", error_name(status)));
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::Ref(reference));
    }
}

fn error_name(status: &str) -> String {
    format!("Error{status}")
}

fn bare() -> OpenApi {
    let mut components = Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
    components.add_security_scheme("x-api-key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))));
    let info = InfoBuilder::new()
        .title("Ostler")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Runs LLM agents as sandboxed, durable, multi-tenant processes."))
        .build();
    let either =
        [SecurityRequirement::new::<_, [&str; 0], &str>("bearer", []), SecurityRequirement::new::<_, [&str; 0], &str>("x-api-key", [])];
    OpenApiBuilder::new().info(info).components(Some(components)).security(Some(either)).build()
}
