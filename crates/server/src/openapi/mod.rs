//! The description of the API: OpenAPI 3.1, made from the routes themselves so that it cannot say
//! anything else, and completed with what types do not say.

pub(crate) mod examples;
mod operations;
mod schemas;

use axum::Router;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::api::Api;
use crate::error::{ErrorBody, ErrorDetails, ErrorEnvelope};
use crate::routes::{
    agents, api_keys, budget, confirmations, credentials, environments, events, health, metrics, models, network, retry, sandboxes,
    sessions, stream, threads, vaults,
};

const ABOUT: &str = "Runs LLM agents as sandboxed, durable, multi-tenant processes. The wire API is that of Claude Managed Agents; what is \
    below `/v1/x/` and what is called an extension is ours. Every answer carries the header `request-id`. Fields that are not known are \
    ignored, in requests as in answers.";

/// The groups of operations, in the order in which people need them.
const TAGS: [(&str, &str); 8] = [
    ("agents", "A definition of model, prompt and tools, in immutable versions."),
    ("environments", "What the sandboxes of sessions offer."),
    ("sessions", "Agents at work: each has a journal of everything that happens, and a sandbox of its own."),
    ("events", "What goes into a session and what comes out of it, as a list and as a stream."),
    ("threads", "The contexts inside a session; each session has one. For clients that name a `managed-agents` beta."),
    ("vaults", "Secrets that agents can use and never see."),
    ("models", "The models that agents can name."),
    (
        "platform",
        "Extensions: API keys, the budget of a workspace, sessions that were set aside, sandboxes that live, what they did in the network, requests that wait for a person, counters.",
    ),
];

const PROBES: (&str, &str) = ("probes", "How the server is, and this description. Needs no key.");

/// Every route of the API, with its description.
const ROUTES: [fn() -> OpenApiRouter<Api>; 17] = [
    agents::routes,
    environments::routes,
    sessions::routes,
    events::routes,
    stream::routes,
    threads::routes,
    retry::routes,
    network::routes,
    confirmations::routes,
    vaults::routes,
    credentials::routes,
    sandboxes::routes,
    api_keys::routes,
    budget::routes,
    models::routes,
    metrics::routes,
    health::routes,
];

/// Every route of the API. Descriptions are dropped one by one: together they take megabytes.
pub(crate) fn routes() -> Router<Api> {
    ROUTES.iter().fold(Router::new(), |all, routes| all.merge(routes().split_for_parts().0))
}

/// The routes with all of their descriptions.
fn described() -> OpenApiRouter<Api> {
    ROUTES.iter().fold(OpenApiRouter::new(), |all, routes| all.merge(routes()))
}

/// The description, its parts in the order in which people read them.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    openapi: &'static str,
    info: Value,
    servers: Value,
    security: Value,
    tags: Value,
    paths: Value,
    components: Value,
}

/// Makes the description.
pub(crate) fn document() -> Document {
    let mut routes = described().into_openapi();
    add::<ErrorEnvelope>(&mut routes);
    add::<ErrorBody>(&mut routes);
    add::<ErrorDetails>(&mut routes);
    // What the routes describe is data of this program; that it can be written is tested.
    let mut written = serde_json::to_value(routes).unwrap_or_default();
    let (mut paths, mut components) = (written["paths"].take(), written["components"].take());
    schemas::complete(&mut components["schemas"]);
    operations::complete(&mut paths);
    components["responses"] = operations::errors();
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer <key>`; wins over `x-api-key`."},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key, as the official SDKs send it."},
    });
    let mut document = Document {
        openapi: "3.1.0",
        info: json!({
            "title": "Ostler",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": env!("CARGO_PKG_LICENSE")},
        }),
        servers: json!([{"url": "/", "description": "The server that this description comes from."}]),
        security: json!([{"bearer": []}, {"x-api-key": []}]),
        tags: TAGS.iter().chain([&PROBES]).map(|(name, description)| json!({"name": name, "description": description})).collect(),
        paths,
        components,
    };
    // The text must not depend on features that other crates ask of serde_json.
    for part in [&mut document.info, &mut document.paths, &mut document.components] {
        part.sort_all_objects();
    }
    document
}

fn add<T: PartialSchema + ToSchema>(routes: &mut OpenApi) {
    let components = routes.components.get_or_insert_default();
    components.schemas.insert(T::name().into_owned(), T::schema());
}

/// The description as a value.
pub fn openapi() -> Value {
    serde_json::to_value(document()).unwrap_or_default()
}

/// The description as text for people, with a newline at its end.
pub(crate) fn pretty() -> String {
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}
