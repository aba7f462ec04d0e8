//! `/v1/x/budget`: the budget that the sessions of the key's workspace share.

use axum::Json;
use axum::extract::State;
use ostler_core::cost::Cost;
use ostler_core::resources::budget::{BudgetLimit, MonetaryAmount};
use ostler_store::WorkspaceBudget;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::error::ApiResult;

/// The budget of a workspace, and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Budget {
    /// Always `workspace_budget`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The most that all sessions together may cost; null: as much as wanted.
    max_list_cost: Option<MonetaryAmount>,
    /// What was charged since the workspace exists, deleted sessions included, in US dollars.
    #[schema(value_type = String, example = "12.345678900")]
    spent_usd: String,
    /// What is set aside for model requests that are under way, in US dollars.
    #[schema(value_type = String, example = "0.120000000")]
    reserved_usd: String,
}

impl From<WorkspaceBudget> for Budget {
    fn from(budget: WorkspaceBudget) -> Self {
        Self {
            kind: "workspace_budget",
            max_list_cost: budget.cap.map(MonetaryAmount::from),
            spent_usd: budget.spent.dollars(),
            reserved_usd: budget.reserved.dollars(),
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(retrieve, set, remove))
}

/// The budget of the key's workspace.
///
/// What was charged and what is set aside is counted whether or not there is a budget. An extension.
#[utoipa::path(get, path = "/v1/x/budget", operation_id = "retrieve_budget", tag = "platform",
    responses((status = 200, body = Budget)))]
async fn retrieve(State(api): State<Api>, caller: Caller) -> ApiResult<Json<Budget>> {
    Ok(Json(api.state.router.budget(&caller.scope).await?.into()))
}

/// Sets the most that all sessions of the workspace may cost together.
///
/// Sessions that waited for it go on by themselves when there is room. A cap below what was spent stops
/// all model requests of the workspace.
#[utoipa::path(put, path = "/v1/x/budget", operation_id = "set_budget", tag = "platform",
    request_body = BudgetLimit, responses((status = 200, body = Budget)))]
async fn set(State(api): State<Api>, caller: Caller, JsonBody(limit, _room): JsonBody<BudgetLimit>) -> ApiResult<Json<Budget>> {
    change(&api, &caller, Some(limit.cap("budget")?)).await
}

/// Removes the budget of the workspace.
///
/// What was spent is still counted. Sessions that waited for budget go on. An extension.
#[utoipa::path(delete, path = "/v1/x/budget", operation_id = "remove_budget", tag = "platform",
    responses((status = 200, body = Budget)))]
async fn remove(State(api): State<Api>, caller: Caller) -> ApiResult<Json<Budget>> {
    change(&api, &caller, None).await
}

async fn change(api: &Api, caller: &Caller, cap: Option<Cost>) -> ApiResult<Json<Budget>> {
    Ok(Json(api.state.router.set_budget(&caller.scope, cap).await?.into()))
}
