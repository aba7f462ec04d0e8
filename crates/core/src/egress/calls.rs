//! How the server asks egress to reach the outside for it: HTTP over a unix socket, whose `Host` says what a request is for.

use serde::{Deserialize, Serialize};

/// The dialect of a model provider, and with it the header its key travels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Anthropic Messages: the key is sent as `x-api-key`.
    Anthropic,
    /// OpenAI Chat Completions: the key is sent as `Authorization: Bearer`.
    OpenAi,
}

/// Header of an answer that egress gives in the place of a model provider: why there is none, one of the words below. The body says more.
pub const FAILURE: &str = "ostler-failure";
/// The provider is none of those that are configured.
pub const FAILURE_UNKNOWN: &str = "unknown";
/// No connection to the provider could be made.
pub const FAILURE_CONNECT: &str = "connect";
/// The connection to the provider broke before there was an answer.
pub const FAILURE_BROKEN: &str = "broken";

/// Requests to this host go to MCP servers.
pub const MCP_HOST: &str = "mcp.ostler";
/// Requests to a name that ends so go to the model provider before it, to a path below `/v1`.
pub const PROVIDER_HOSTS: &str = ".provider.ostler";
/// Requests to this host read pages and ask search engines.
pub const WEB_HOST: &str = "web.ostler";
/// Header: the address that a request is for.
pub const URL: &str = "ostler-url";
/// Header: the session on whose behalf it is made; it is recorded there.
pub const SESSION: &str = "ostler-session";
/// Header: the tool call that it is made for, if it is for one.
pub const CALL: &str = "ostler-call";
/// Header: the tenant.
pub const ORGANIZATION: &str = "ostler-organization";
/// Header: the unit of isolation inside it.
pub const WORKSPACE: &str = "ostler-workspace";
/// Header: the sealed secret that goes along.
pub const SEALED: &str = "ostler-sealed";
/// Path of a request to [`WEB_HOST`]: reads the page of its [`URL`].
pub const PAGE_PATH: &str = "/page";
/// Path of a request to [`WEB_HOST`]: asks the search engine what its query says, in the words of that engine.
pub const SEARCH_PATH: &str = "/search";
/// Headers whose names begin so tell a search engine where the user is.
pub const LOCATION: &str = "x-loc-";
/// Header of an answer that is not of the outside, but of egress.
pub const REFUSED: &str = "x-ostler-egress";
