//! `/v1/x/environments/{environment_id}/packages`: how it stands with the packages of an environment.

use axum::Json;
use axum::extract::State;
use ostler_core::ids::EnvironmentId;
use ostler_core::time::Timestamp;
use ostler_runtime::packages::{PackagesState, PackagesStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::path::Id;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(read, build))
}

/// Whether packages are installed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum InstallState {
    /// Not yet; the next session that needs them has them installed.
    Absent,
    /// They are being installed.
    Building,
    /// They are there, or none are asked for.
    Ready,
    /// They could not be installed.
    Failed,
}

/// How it stands with the packages of an environment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvironmentPackages {
    /// Always `environment_packages`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// Whose they are.
    environment_id: EnvironmentId,
    /// Whether they are installed.
    state: InstallState,
    /// While they are being installed: `waiting`, `starting`, the package manager, `keeping`.
    step: Option<String>,
    /// Why they could not be installed, with the end of what the package manager said.
    error: Option<String>,
    /// In how many seconds a session that needs them has it tried again.
    retry_seconds: Option<u64>,
    /// The digest of the files that were installed.
    digest: Option<String>,
    /// Bytes of these files.
    size_bytes: Option<u64>,
    /// When they were installed.
    built_at: Option<Timestamp>,
}

fn wire(environment_id: EnvironmentId, status: PackagesStatus) -> Json<EnvironmentPackages> {
    let PackagesStatus { state, step, error, retry_seconds, digest, bytes, built_at } = status;
    let state = match state {
        PackagesState::Absent => InstallState::Absent,
        PackagesState::Building => InstallState::Building,
        PackagesState::Ready => InstallState::Ready,
        PackagesState::Failed => InstallState::Failed,
    };
    Json(EnvironmentPackages {
        kind: "environment_packages",
        environment_id,
        state,
        step,
        error,
        retry_seconds,
        digest,
        size_bytes: bytes,
        built_at,
    })
}

/// How it stands with the packages of an environment.
///
/// They are installed once, when the environment is made or its packages change, and again by the next session that needs
/// them after that failed. An extension.
#[utoipa::path(get, path = "/v1/x/environments/{environment_id}/packages", operation_id = "read_environment_packages", tag = "environments",
    params(("environment_id" = EnvironmentId, Path, description = "The environment.")), responses((status = 200, body = EnvironmentPackages)))]
async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<EnvironmentId>) -> ApiResult<Json<EnvironmentPackages>> {
    let status = api.state.router.packages(&caller.scope, &id).await?;
    Ok(wire(id, status))
}

/// Has the packages of an environment installed now.
///
/// Does not wait for it. What failed just before is tried again at once; what is installed stays as it is, unless its files
/// were changed from outside. 409 when that is so and living sandboxes use it. An extension.
#[utoipa::path(post, path = "/v1/x/environments/{environment_id}/packages", operation_id = "build_environment_packages", tag = "environments",
    params(("environment_id" = EnvironmentId, Path, description = "The environment.")), responses((status = 200, body = EnvironmentPackages)))]
async fn build(State(api): State<Api>, caller: Caller, Id(id): Id<EnvironmentId>) -> ApiResult<Json<EnvironmentPackages>> {
    let status = api.state.router.build_packages(&caller.scope, &id).await?;
    Ok(wire(id, status))
}
