//! What is taken, what is refused, what changes.

use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn create(auth: Value) -> Result<CredentialChange, Refusal> {
    CredentialBody::create(serde_json::from_value(json!({"auth": auth})).unwrap(), NOW)
}

fn update(body: &CredentialBody, auth: Value) -> Result<CredentialChange, Refusal> {
    body.updated(serde_json::from_value(json!({"auth": auth})).unwrap(), NOW)
}

fn shown(change: &CredentialChange) -> Value {
    serde_json::to_value(&change.body.auth).unwrap()
}

fn parts(change: &CredentialChange) -> Vec<(&str, &str)> {
    change.secrets.iter().map(|(part, secret)| (*part, secret.expose())).collect()
}

fn bearer() -> Value {
    json!({"type": "static_bearer", "mcp_server_url": "https://a.com/mcp", "token": "t"})
}

fn oauth() -> Value {
    json!({"type": "mcp_oauth", "mcp_server_url": "https://a.com/mcp", "access_token": "a", "expires_at": "2099-01-01T00:00:00Z",
        "refresh": {"token_endpoint": "https://a.com/token", "client_id": "c", "refresh_token": "r", "scope": "x",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "s"}}})
}

fn variable() -> Value {
    json!({"type": "environment_variable", "secret_name": "TOKEN", "secret_value": "v", "networking": {"type": "limited", "allowed_hosts": ["a.com"]}})
}

#[test]
fn secrets_are_taken_out_and_do_not_show() {
    let change = create(oauth()).unwrap();
    assert_eq!(parts(&change), [("access_token", "a"), ("client_secret", "s"), ("refresh_token", "r")]);
    assert_eq!(
        shown(&change),
        json!({"type": "mcp_oauth", "mcp_server_url": "https://a.com/mcp", "expires_at": "2099-01-01T00:00:00.000000Z",
            "refresh": {"token_endpoint": "https://a.com/token", "client_id": "c", "scope": "x", "token_endpoint_auth": {"type": "client_secret_post"}}})
    );
    let change = create(variable()).unwrap();
    assert_eq!(parts(&change), [("secret_value", "v")]);
    assert_eq!(shown(&change)["injection_location"], json!({"body": false, "header": true}));
    assert!(
        !format!("{:?}", create(json!({"type": "static_bearer", "mcp_server_url": "https://a.com", "token": "hidden"}))).contains("hidden")
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let with = |mut auth: Value, pointer: &str, value: Value| {
        *auth.pointer_mut(pointer).unwrap() = value;
        create(auth)
    };
    for url in ["", "a.com", "ftp://a.com", "https://u:p@a.com", "https://a.com/#x", "https://"] {
        assert!(with(bearer(), "/mcp_server_url", json!(url)).is_err(), "{url}");
        assert!(with(oauth(), "/refresh/token_endpoint", json!(url)).is_err(), "{url}");
    }
    for token in ["", "a\nb", "a\rb", "a\0b", &"x".repeat(limits::SECRET_BYTES + 1)] {
        assert!(with(bearer(), "/token", json!(token)).is_err());
    }
    for name in ["", "1A", "A-B", "A B", "path", "http_proxy", "LD_PRELOAD", "ostler_x", "REQUESTS_CA_BUNDLE", &"A".repeat(129)] {
        assert!(with(variable(), "/secret_name", json!(name)).is_err(), "{name}");
    }
    for hosts in [json!([]), json!(["*"]), json!(["*.com"]), json!(["https://a.com"]), json!(vec!["a.com"; 17])] {
        assert!(with(variable(), "/networking/allowed_hosts", hosts.clone()).is_err(), "{hosts}");
    }
    assert!(with(oauth(), "/expires_at", json!("1970-01-01T00:00:00Z")).is_err());
    let mut nowhere = variable();
    nowhere["injection_location"] = json!({"header": false});
    assert!(create(nowhere).is_err());
}

#[test]
fn an_update_changes_secrets_and_keeps_what_names_the_credential() {
    let body = create(oauth()).unwrap().body;
    let next = update(&body, json!({"type": "mcp_oauth", "access_token": "b"})).unwrap();
    assert_eq!((parts(&next), &next.body), (vec![("access_token", "b")], &body));
    let next = update(&body, json!({"type": "mcp_oauth", "expires_at": null, "refresh": {"scope": "", "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "z"}}})).unwrap();
    assert_eq!(parts(&next), [("client_secret", "z")]);
    assert_eq!((shown(&next).get("expires_at"), shown(&next)["refresh"].get("scope")), (None, None));
    for refused in [
        json!({"type": "static_bearer", "token": "b"}),
        json!({"type": "mcp_oauth", "mcp_server_url": "https://b.com"}),
        json!({"type": "mcp_oauth", "refresh": {"token_endpoint_auth": {"type": "none"}}}),
        json!({"type": "mcp_oauth", "expires_at": "1970-01-01T00:00:00Z"}),
    ] {
        assert!(update(&body, refused.clone()).is_err(), "{refused}");
    }
    let body = create(variable()).unwrap().body;
    let next = update(
        &body,
        json!({"type": "environment_variable", "networking": {"type": "unrestricted"}, "injection_location": {"body": true}}),
    )
    .unwrap();
    assert_eq!(shown(&next)["injection_location"], json!({"body": true, "header": true}));
    assert!(update(&body, json!({"type": "environment_variable", "injection_location": {"header": false}})).is_err());
    let plain = create(bearer()).unwrap().body;
    assert!(update(&plain, json!({"type": "mcp_oauth", "refresh": {"scope": "x"}})).is_err());
    let named = plain.updated(serde_json::from_value(json!({"display_name": "n"})).unwrap(), NOW).unwrap();
    assert_eq!(named.body.display_name.as_deref(), Some("n"));
    let cleared = named.body.updated(serde_json::from_value(json!({"display_name": null})).unwrap(), NOW).unwrap();
    assert_eq!(cleared.body.display_name, None);
}

#[test]
fn one_server_has_one_key_however_it_is_written() {
    let key = |url: &str| create(json!({"type": "static_bearer", "mcp_server_url": url, "token": "t"})).unwrap().body.key();
    assert_eq!(key("https://A.com:443/mcp/"), key("HTTPS://a.com/mcp"));
    assert_ne!(key("https://a.com/mcp"), key("https://a.com/MCP"));
    assert_ne!(key("https://a.com/mcp"), key("https://a.com:8443/mcp"));
    assert_eq!(key("https://a.com"), "mcp:https://a.com");
    assert_eq!(create(variable()).unwrap().body.key(), "env:TOKEN");
}
