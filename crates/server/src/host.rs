//! Under which names the server may be asked. A web page that makes its own name point here (DNS
//! rebinding) asks under that name and is refused. TLS and routing by name are not done here.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use ostler_core::error::Refusal;

use crate::api::Api;
use crate::app::is_probe;
use crate::config::ServerConfig;
use crate::error::{ApiError, ApiResult};

/// The layer that refuses foreign names; probes may use any.
pub(crate) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !is_probe(request.uri().path())
        && let Err(error) = check_request(&api.state.config, request.uri(), request.headers())
    {
        return error.into_response();
    }
    next.run(request).await
}

fn check_request(config: &ServerConfig, uri: &Uri, headers: &HeaderMap) -> ApiResult<()> {
    let mut named = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return Err(Refusal::invalid("exactly one Host header is needed").into());
    };
    let host = host.to_str().unwrap_or_default();
    let authority = uri.authority().map_or(host, http::uri::Authority::as_str);
    if is_allowed(config, host) && is_allowed(config, authority) {
        return Ok(());
    }
    let message = "this server does not answer under that host name; add the name to allowed_hosts (--allowed-host) if it is right";
    Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "invalid_request_error", message))
}

fn is_allowed(config: &ServerConfig, host: &str) -> bool {
    let name = without_port(host);
    if name.is_empty() {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    if let Some(ip) = ip(name) {
        // An address cannot be made to point elsewhere, so it is no way in for a foreign page.
        return is_own(config.listen, ip) || is_configured(config, host, name);
    }
    is_configured(config, host, name)
}

fn is_own(listen: SocketAddr, ip: IpAddr) -> bool {
    ip.is_loopback() || !listen.ip().is_loopback()
}

fn is_configured(config: &ServerConfig, host: &str, name: &str) -> bool {
    config.allowed_hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name))
}

/// `name:port` without the port; `[v6]:port` keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.contains(']') && port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn ip(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str, allowed: &[&str]) -> ServerConfig {
        ServerConfig { allowed_hosts: allowed.iter().map(|&host| host.to_owned()).collect(), ..ServerConfig::new(listen.parse().unwrap()) }
    }

    #[test]
    fn only_own_and_configured_names_are_answered() {
        let local = config("127.0.0.1:8787", &["agents.example.com", "other.example.com:444"]);
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8787",
            "127.0.0.1",
            "[::1]:8787",
            "[::1]",
            "agents.example.com",
            "Agents.Example.com:9",
            "other.example.com:444",
        ] {
            assert!(is_allowed(&local, host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.com",
            "localhost.evil.com",
            "evil.com:8787",
            "10.0.0.1",
            "other.example.com",
            "other.example.com:445",
            "127.0.0.1.evil.com",
        ] {
            assert!(!is_allowed(&local, host), "{host}");
        }
    }

    #[test]
    fn a_public_server_answers_under_its_addresses() {
        let open = config("0.0.0.0:80", &[]);
        assert!(is_allowed(&open, "192.0.2.7:80"));
        assert!(!is_allowed(&open, "rebound.evil.com"));
        assert!(is_allowed(&config("0.0.0.0:80", &["*"]), "anything.example"));
    }

    #[test]
    fn the_request_line_cannot_name_another_host() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        let local = config("127.0.0.1:1", &[]);
        assert!(check_request(&local, &"/v1/agents".parse().unwrap(), &headers).is_ok());
        assert!(check_request(&local, &"http://evil.com/v1/agents".parse().unwrap(), &headers).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(check_request(&local, &"/v1/agents".parse().unwrap(), &headers).is_err());
        assert!(check_request(&local, &"/v1/agents".parse().unwrap(), &HeaderMap::new()).is_err());
    }
}
