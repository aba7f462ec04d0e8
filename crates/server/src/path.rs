//! Ids in paths. What cannot be an id is answered exactly as an unknown one, before the store is
//! asked.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use ostler_core::error::Refusal;
use ostler_core::ids::{AgentId, ApiKeyId, ConfirmationId, CredentialId, EnvironmentId, SessionId, ThreadId, VaultId};

use crate::error::ApiError;
use crate::limits;

/// An id that stands in a path.
pub(crate) trait PathId: std::str::FromStr + Send {
    /// What it is the id of, for people.
    const NAME: &'static str;
    /// The stable name of its absence, where the protocol has one.
    const MISSING_CODE: Option<&'static str> = None;

    /// There is none with this id, or not for this caller.
    fn missing(text: &str) -> Refusal {
        let shown: String = text.chars().take(limits::REPEATED_CHARS).collect();
        Refusal { code: Self::MISSING_CODE, ..Refusal::not_found(format!("no {} {shown:?}", Self::NAME)) }
    }
}

impl PathId for AgentId {
    const NAME: &'static str = "agent";
}

impl PathId for EnvironmentId {
    const NAME: &'static str = "environment";
    const MISSING_CODE: Option<&'static str> = Some("environment_not_found");
}

impl PathId for SessionId {
    const NAME: &'static str = "session";
}

impl PathId for ThreadId {
    const NAME: &'static str = "thread";
}

impl PathId for VaultId {
    const NAME: &'static str = "vault";
}

impl PathId for CredentialId {
    const NAME: &'static str = "credential";
}

impl PathId for ConfirmationId {
    const NAME: &'static str = "confirmation";
}

impl PathId for ApiKeyId {
    const NAME: &'static str = "API key";
}

/// The one id of a path.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: PathId> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| T::missing(""))?;
        Ok(Self(parse(&text)?))
    }
}

/// The two ids of a path.
#[derive(Debug)]
pub(crate) struct Ids<A, B>(pub(crate) A, pub(crate) B);

impl<S: Send + Sync, A: PathId, B: PathId> FromRequestParts<S> for Ids<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| A::missing(""))?;
        Ok(Self(parse(&first)?, parse(&second)?))
    }
}

/// An id in a path or a body.
pub(crate) fn parse<T: PathId>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| T::missing(text))
}
