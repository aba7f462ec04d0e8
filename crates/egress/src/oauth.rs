//! Renews OAuth tokens by their refresh token (RFC 6749, section 6). Tokens come in sealed and go out sealed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use ostler_core::egress::policy::Code;
use ostler_core::resources::credential::{ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN, Refresh, TokenEndpointAuth};
use ostler_core::resources::validation::HttpAnswer;
use ostler_seal::open::Secret;
use ostler_seal::{Binding, Bound, Sealed, seal};
use serde::Deserialize;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::calls::{Behalf, Destination, Failed, Whose, send};
use crate::replace::Table;
use crate::service::Egress;
use crate::{body, grants, limits};

/// What renewing brought.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Renewal {
    /// New tokens.
    Renewed {
        access_token: Sealed,
        /// Where the former one does not hold any more.
        refresh_token: Option<Sealed>,
        /// For how many seconds the access token holds, if that was said.
        expires_in: Option<u64>,
    },
    /// The endpoint did not give any; its answer, if there was one.
    Failed(Option<HttpAnswer>),
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Zeroizing<String>,
    #[serde(default)]
    refresh_token: Option<Zeroizing<String>>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

/// Asks for a new token. `owner` says whose the secrets must be, and gives the new ones their version.
///
/// # Errors
/// When the secrets do not open or are for another place; nothing is sent then.
pub(crate) async fn renew(
    egress: &Arc<Egress>,
    owner: &Binding,
    refresh: &Refresh,
    refresh_token: &str,
    client_secret: Option<&str>,
) -> Result<Renewal, String> {
    let token = opened(egress, owner, refresh, REFRESH_TOKEN, refresh_token)?;
    let secret = client_secret.map(|sealed| opened(egress, owner, refresh, CLIENT_SECRET, sealed)).transpose()?;
    let unfit = |failed: Failed| format!("the token endpoint cannot be used: {}", failed.detail);
    let to = Destination::of(&refresh.token_endpoint).map_err(unfit)?;
    to.must_be_secure().map_err(unfit)?;
    let request = request(refresh, &token, secret.as_ref())?;
    let forms = [Some(&token), secret.as_ref()].into_iter().flatten().flat_map(|secret| grants::forms_of(secret.expose(), b"[redacted]"));
    let behalf =
        Behalf { whose: Whose::default(), workspace: None, credential: None, scrubs: Arc::new(Table::new(forms)), rule: "token endpoints" };
    let asked = async {
        let response = send(egress, &to, behalf, request).await?;
        let (parts, content) = response.into_parts();
        let read = Limited::new(content, limits::TOKEN_ANSWER_BYTES).collect().await;
        let bytes = read.map_err(|_| Failed::new(&to.host, Code::Unreachable, "its answer broke or is too long"))?.to_bytes();
        Ok::<_, Failed>((parts, Zeroizing::new(bytes.to_vec())))
    };
    let (parts, bytes) = match timeout(limits::TOKEN_TIME, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failed)) => {
            tracing::info!(host = failed.host, code = ?failed.code, why = failed.detail, "a token endpoint was not reached");
            return Ok(Renewal::Failed(None));
        }
        Err(_) => return Ok(Renewal::Failed(None)),
    };
    let answer = parts.status.is_success().then(|| serde_json::from_slice::<TokenAnswer>(&bytes).ok()).flatten();
    let Some(answer) = answer.filter(|answer| !answer.access_token.is_empty()) else {
        // One that answers well and without a token may hold one all the same.
        let body = if parts.status.is_success() { String::new() } else { shown(&bytes) };
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body_truncated = bytes.len() > body.len();
        return Ok(Renewal::Failed(Some(HttpAnswer { body, body_truncated, content_type, status_code: parts.status.as_u16() })));
    };
    let sealed = |part: &str, secret: &str| {
        let binding = Binding { part: part.to_owned(), ..owner.clone() };
        seal(&egress.public_key(), &binding, secret.as_bytes()).map_err(|error| error.to_string())
    };
    Ok(Renewal::Renewed {
        access_token: sealed(ACCESS_TOKEN, &answer.access_token)?,
        refresh_token: answer.refresh_token.as_ref().map(|token| sealed(REFRESH_TOKEN, token)).transpose()?,
        expires_in: answer.expires_in.as_ref().and_then(seconds),
    })
}

/// Some endpoints say it as text.
fn seconds(value: &serde_json::Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| Duration::from_secs_f64(number.min(1e9)).as_secs()))
        .or_else(|| value.as_str()?.parse().ok())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(limits::SHOWN_ANSWER)]).into_owned()
}

/// Opens a secret of the grant, if it is the owner's and bound to this endpoint.
fn opened(egress: &Egress, owner: &Binding, refresh: &Refresh, part: &str, sealed: &str) -> Result<Secret, String> {
    let sealed: Sealed = sealed.parse().map_err(|_| format!("the {part} cannot be read"))?;
    let (binding, secret) = egress.ring().open(&sealed).map_err(|error| format!("the {part} does not open: {error}"))?;
    let is_owner = binding.organization == owner.organization
        && binding.workspace == owner.workspace
        && binding.vault == owner.vault
        && binding.credential == owner.credential
        && binding.part == part
        && binding.bound == owner.bound;
    let is_here = matches!(&binding.bound, Bound::McpOauth { token_endpoint: Some(endpoint), .. } if *endpoint == refresh.token_endpoint);
    if is_owner && is_here { Ok(secret) } else { Err(format!("the {part} is sealed for another place")) }
}

fn request(refresh: &Refresh, token: &Secret, secret: Option<&Secret>) -> Result<Request<body::Body>, String> {
    let text =
        |secret: &Secret| String::from_utf8(secret.expose().to_vec()).map(Zeroizing::new).map_err(|_| "a secret is no text".to_owned());
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &text(token)?);
    for (name, value) in [("scope", &refresh.scope), ("resource", &refresh.resource)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let secret = secret.map(text).transpose()?.unwrap_or_default();
    let mut basic = None;
    match refresh.token_endpoint_auth {
        TokenEndpointAuth::None {} => {
            form.append_pair("client_id", &refresh.client_id);
        }
        TokenEndpointAuth::ClientSecretPost {} => {
            form.append_pair("client_id", &refresh.client_id).append_pair("client_secret", &secret);
        }
        TokenEndpointAuth::ClientSecretBasic {} => {
            // Both are encoded as in a form first (RFC 6749, section 2.3.1).
            let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            basic = Some(STANDARD.encode(Zeroizing::new(format!("{}:{}", encoded(&refresh.client_id), encoded(&secret)))));
        }
    }
    let mut request = Request::new(body::full(Bytes::from(form.finish())));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(basic) = basic {
        let mut value = HeaderValue::from_str(&format!("Basic {basic}")).map_err(|_| "the client's secret cannot be sent".to_owned())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_in_all_the_ways_that_are_used() {
        for (value, expected) in [
            (serde_json::json!(3600), Some(3600)),
            (serde_json::json!(3599.9), Some(3599)),
            (serde_json::json!("60"), Some(60)),
            (serde_json::json!(-1), None),
            (serde_json::json!(null), None),
        ] {
            assert_eq!(seconds(&value), expected, "{value}");
        }
    }

    #[tokio::test]
    async fn a_client_says_who_it_is_as_it_is_told_to() {
        let refresh = |auth| Refresh {
            client_id: "me & co".into(),
            token_endpoint: "https://a.test/token".into(),
            token_endpoint_auth: auth,
            resource: Some("https://a.test/mcp".into()),
            scope: None,
        };
        let (token, secret) = (Secret::new(b"rt".to_vec()), Secret::new(b"s:1".to_vec()));
        let usual = "grant_type=refresh_token&refresh_token=rt&resource=https%3A%2F%2Fa.test%2Fmcp";
        for (auth, expected, basic) in [
            (TokenEndpointAuth::None {}, format!("{usual}&client_id=me+%26+co"), None),
            (TokenEndpointAuth::ClientSecretPost {}, format!("{usual}&client_id=me+%26+co&client_secret=s%3A1"), None),
            (TokenEndpointAuth::ClientSecretBasic {}, usual.to_owned(), Some(format!("Basic {}", STANDARD.encode("me+%26+co:s%3A1")))),
        ] {
            let request = request(&refresh(auth), &token, Some(&secret)).unwrap();
            let said = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(said, basic);
            assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), expected);
        }
    }
}
