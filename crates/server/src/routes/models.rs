//! `/v1/models`: the models that agents can name.

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use ostler_core::error::Refusal;
use ostler_core::time::Timestamp;
use ostler_runtime::router::ListedModel;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::limits;
use crate::query::Params;

/// A model that agents can name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ModelInfo {
    /// What an agent names.
    id: String,
    /// Always `model`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// A name for people; the id.
    display_name: String,
    /// When it came out; the beginning of 1970, because it is not known.
    created_at: Timestamp,
    /// Who serves it, in the order in which they are asked.
    providers: Vec<String>,
}

/// A page of models, with ids as cursors.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelPage {
    /// The models.
    data: Vec<ModelInfo>,
    /// Whether there are more in this direction.
    has_more: bool,
    /// What to send as `before_id` for those before; null when the page is empty.
    first_id: Option<String>,
    /// What to send as `after_id` for those after; null when the page is empty.
    last_id: Option<String>,
}

impl From<ListedModel> for ModelInfo {
    fn from(model: ListedModel) -> Self {
        Self { display_name: model.id.clone(), id: model.id, kind: "model", created_at: Timestamp(0), providers: model.providers }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(retrieve))
        .route("/v1/models/{vendor}/{model}", get(retrieve_with_slash))
        .route("/v1/models/{provider}/{vendor}/{model}", get(retrieve_with_slashes))
}

/// The models that can be used, by id.
///
/// What the configured providers say that they serve. `after_id` and `before_id` are cursors; only one of them
/// can be sent.
#[utoipa::path(get, path = "/v1/models", operation_id = "list_models", tag = "models",
    params(("limit" = Option<u64>, Query, description = "Rows, 1 to 1000; 20 when left out.", minimum = 1, maximum = 1000),
        ("after_id" = Option<String>, Query, description = "The models behind this one."),
        ("before_id" = Option<String>, Query, description = "The models before this one.")),
    responses((status = 200, body = ModelPage)))]
async fn list(State(api): State<Api>, _caller: Caller, params: Params) -> ApiResult<Json<ModelPage>> {
    let limit = usize::try_from(params.number("limit")?.unwrap_or(limits::MODELS_DEFAULT)).unwrap_or(usize::MAX);
    if limit == 0 || limit > limits::MODELS_MAX {
        return Err(Refusal::invalid(format!("limit: must be between 1 and {}", limits::MODELS_MAX)).into());
    }
    let models = api.state.router.list_models().await;
    Ok(Json(page(models, limit, params.one("after_id"), params.one("before_id"))?))
}

/// One model.
///
/// As it is in the list. An agent may name models that providers do not list.
#[utoipa::path(get, path = "/v1/models/{model_id}", operation_id = "retrieve_model", tag = "models",
    params(("model_id" = String, Path, description = "Its id; slashes in it may be sent as they are.")),
    responses((status = 200, body = ModelInfo)))]
async fn retrieve(State(api): State<Api>, _caller: Caller, Path(id): Path<String>) -> ApiResult<Json<ModelInfo>> {
    find(&api, &id).await
}

async fn retrieve_with_slash(
    State(api): State<Api>,
    _caller: Caller,
    Path((vendor, model)): Path<(String, String)>,
) -> ApiResult<Json<ModelInfo>> {
    find(&api, &format!("{vendor}/{model}")).await
}

async fn retrieve_with_slashes(
    State(api): State<Api>,
    _caller: Caller,
    Path((provider, vendor, model)): Path<(String, String, String)>,
) -> ApiResult<Json<ModelInfo>> {
    find(&api, &format!("{provider}/{vendor}/{model}")).await
}

async fn find(api: &Api, id: &str) -> ApiResult<Json<ModelInfo>> {
    let found = api.state.router.list_models().await.into_iter().find(|model| model.id == id);
    let shown: String = id.chars().take(limits::REPEATED_CHARS).collect();
    Ok(Json(found.ok_or_else(|| Refusal::not_found(format!("no model {shown:?} is listed by a configured provider")))?.into()))
}

/// The models are ordered by id, so that a cursor need not be one of them any more.
fn page(models: Vec<ListedModel>, limit: usize, after: Option<&str>, before: Option<&str>) -> Result<ModelPage, Refusal> {
    if after.is_some() && before.is_some() {
        return Err(Refusal::invalid("after_id and before_id exclude each other"));
    }
    let wanted =
        |model: &ListedModel| after.is_none_or(|after| model.id.as_str() > after) && before.is_none_or(|before| model.id.as_str() < before);
    let mut found: Vec<ModelInfo> = models.into_iter().filter(wanted).map(ModelInfo::from).collect();
    let has_more = found.len() > limit;
    if before.is_some() {
        found.drain(..found.len().saturating_sub(limit));
    } else {
        found.truncate(limit);
    }
    let id = |model: Option<&ModelInfo>| model.map(|model| model.id.clone());
    Ok(ModelPage { has_more, first_id: id(found.first()), last_id: id(found.last()), data: found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(limit: usize, after: Option<&str>, before: Option<&str>) -> (String, bool) {
        let models = ["a", "b", "c", "d"].map(|id| ListedModel { id: id.into(), providers: vec!["p".into()] });
        let page = page(models.into(), limit, after, before).unwrap();
        (page.data.iter().map(|model| model.id.as_str()).collect(), page.has_more)
    }

    #[test]
    fn pages_go_both_ways() {
        assert_eq!(ids(10, None, None), ("abcd".into(), false));
        assert_eq!(ids(2, None, None), ("ab".into(), true));
        assert_eq!(ids(2, Some("b"), None), ("cd".into(), false));
        assert_eq!(ids(2, Some("bb"), None), ("cd".into(), false));
        assert_eq!(ids(2, None, Some("d")), ("bc".into(), true));
        assert_eq!(ids(2, None, Some("a")), (String::new(), false));
        assert!(page(Vec::new(), 1, Some("a"), Some("b")).is_err());
    }
}
