//! Tables for what the web tools may touch.

use super::*;
use serde_json::json;

fn fetch(extra: Value) -> Result<Value, String> {
    checked(WEB_FETCH, extra)
}

fn checked(tool: &str, extra: Value) -> Result<Value, String> {
    let Value::Object(extra) = extra else { panic!() };
    settings(tool, extra).map(Value::Object).map_err(|refusal| refusal.message)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn an_entry_means_its_host_what_is_below_it_and_of_a_path_what_is_below_that() {
    let table = [
        ("example.com", "https://example.com/", true),
        ("example.com", "https://EXAMPLE.com./x", true),
        ("Example.com", "https://docs.example.com/x", true),
        ("example.com", "https://example.com.evil.test/", false),
        ("example.com", "https://evilexample.com/", false),
        ("example.com", "https://example.org/example.com", false),
        ("docs.example.com", "https://example.com/", false),
        ("example.com", "https://1.2.3.4/", false),
        ("example.com", "https://[::1]/", false),
        ("example.com", "https://user@example.com:8443/", true),
        ("xn--bcher-kva.example", "https://b\u{fc}cher.example/", true),
        ("example.com/blog", "https://example.com/blog", true),
        ("example.com/blog/", "https://example.com/blog/one", true),
        ("example.com/blog", "https://example.com/blogs", false),
        ("example.com/blog", "https://www.example.com/blog?x", true),
        ("example.com/blog", "https://example.com/Blog", false),
        ("example.com/blog", "https://example.com/x/../blog/y", true),
        ("example.com/", "https://example.com/any", true),
    ];
    for (entry, address, expected) in table {
        assert_eq!(means(entry, &url(address)), expected, "{entry} {address}");
    }
}

#[test]
fn lists_allow_some_or_all_but_some() {
    let domains = |allowed: &[&str], blocked: &[&str]| Domains {
        allowed_domains: allowed.iter().map(|&text| text.to_owned()).collect(),
        blocked_domains: blocked.iter().map(|&text| text.to_owned()).collect(),
    };
    assert!(domains(&[], &[]).allow(&url("https://any.test/")));
    assert!(domains(&["a.com", "b.com"], &[]).allow(&url("https://x.b.com/")));
    assert!(!domains(&["a.com"], &[]).allow(&url("https://b.com/")));
    assert!(!domains(&[], &["a.com"]).allow(&url("http://x.a.com/")));
    assert!(domains(&[], &["a.com"]).allow(&url("http://1.1.1.1/")));
    assert!(!Domains::closed().allow(&url("https://a.com/")));
}

#[test]
fn domains_are_plain_public_names() {
    let long = format!("{}.com", "a.".repeat(126));
    for bad in [
        json!([]),
        json!("a.com"),
        json!([1]),
        json!(["https://a.com"]),
        json!(["a.com:443"]),
        json!(["a.com/path"]),
        json!(["com"]),
        json!(["10.0.0.1"]),
        json!(["localhost"]),
        json!(["a.local"]),
        json!(["a.internal"]),
        json!(["a.localdomain"]),
        json!(["a.invalid"]),
        json!(["a.com", "A.com"]),
        json!(["b\u{fc}cher.de"]),
        json!([""]),
        json!([long]),
        json!(vec!["a.com"; 65]),
    ] {
        assert!(fetch(json!({"blocked_domains": bad})).is_err(), "{bad}");
    }
    assert_eq!(
        checked(WEB_SEARCH, json!({"allowed_domains": ["a.com/b", "a.com/B"]})).unwrap(),
        json!({"allowed_domains": ["a.com/b", "a.com/B"]})
    );
    for bad in ["a.com/b?c", "a.com/b*", "a.com/b c", "/b"] {
        assert!(checked(WEB_SEARCH, json!({"allowed_domains": [bad]})).is_err(), "{bad}");
    }
    let both = fetch(json!({"allowed_domains": ["a.com"], "blocked_domains": ["b.com"]})).unwrap_err();
    assert!(both.contains("Only one of allowed_domains or blocked_domains may be set."));
}

#[test]
fn settings_of_other_tools_and_unknown_ones_are_dropped() {
    assert_eq!(checked("bash", json!({"allowed_domains": [1]})).unwrap(), json!({}));
    assert_eq!(
        fetch(json!({"x": 1, "max_content_tokens": 5, "allowed_domains": null})).unwrap(),
        json!({"max_content_tokens": 5, "url_sources": null})
    );
    for bad in [json!(0), json!(-1), json!(1.5), json!("5")] {
        assert!(fetch(json!({"max_content_tokens": bad})).is_err(), "{bad}");
    }
}

#[test]
fn sources_are_shown_in_their_long_form() {
    let sources = json!({"server_tool_results": "none", "user_input": {"type": "all"}});
    assert_eq!(
        fetch(json!({"url_sources": sources})).unwrap()["url_sources"],
        json!({"client_tool_results": null, "server_tool_results": {"type": "none"}, "user_input": {"type": "all"}})
    );
    let tool = |name: &str| json!({"type": "tool_reference", "name": name});
    let only = json!({"type": "only", "tools": [tool("web_search")]});
    assert_eq!(fetch(json!({"url_sources": {"server_tool_results": only}})).unwrap()["url_sources"]["server_tool_results"], only);
    for bad in [
        json!("all"),
        json!({"user_input": "some"}),
        json!({"user_input": only}),
        json!({"server_tool_results": {"type": "only", "tools": []}}),
        json!({"server_tool_results": {"type": "except", "tools": [tool("bash")]}}),
        json!({"server_tool_results": {"type": "except", "tools": [tool("web_fetch"), tool("web_fetch")]}}),
        json!({"server_tool_results": {"type": "only", "tools": [{"name": "web_fetch"}]}}),
        json!({"client_tool_results": "none", "server_tool_results": "none", "user_input": "none"}),
    ] {
        assert!(fetch(json!({"url_sources": bad})).is_err(), "{bad}");
    }
}

#[test]
fn filters_say_whose_results_count() {
    let tool = |name: &str| ToolReference { name: name.into(), kind: ReferenceKind::ToolReference };
    let sources = UrlSources {
        client_tool_results: Some(SourceFilter::Except { tools: vec![tool("b")] }),
        server_tool_results: Some(SourceFilter::Only { tools: vec![tool("web_search")] }),
        user_input: None,
    };
    for (source, expected) in [
        (Source::User, true),
        (Source::Client("a"), true),
        (Source::Client("b"), false),
        (Source::Server("web_search"), true),
        (Source::Server("web_fetch"), false),
    ] {
        assert_eq!(sources.allow(source), expected, "{source:?}");
    }
}

#[test]
fn a_location_is_approximate() {
    let located = |location: Value| checked(WEB_SEARCH, json!({"user_location": location}));
    let berlin = json!({"type": "approximate", "city": "Berlin", "country": "DE", "timezone": "Europe/Berlin"});
    assert_eq!(located(berlin.clone()).unwrap(), json!({"user_location": berlin}));
    for bad in [
        json!({}),
        json!({"type": "exact"}),
        json!({"type": "approximate", "country": "de"}),
        json!({"type": "approximate", "city": ""}),
        json!("x"),
    ] {
        assert!(located(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn settings_are_read_back_from_an_agent() {
    let tools: Vec<Tool> = serde_json::from_value(json!([{"type": "agent_toolset_20260401",
        "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
        "configs": [
            {"enabled": true, "name": "web_fetch", "type": "web_fetch", "permission_policy": {"type": "always_allow"},
             "allowed_domains": ["a.com"], "max_content_tokens": 7, "url_sources": {"client_tool_results": null, "server_tool_results": null, "user_input": null}},
            {"enabled": true, "name": "web_search", "type": "web_search", "permission_policy": {"type": "always_allow"}, "blocked_domains": "damaged"}]}]))
    .unwrap();
    let settings = FetchSettings::of(&tools);
    assert!(settings.allows(&url("https://a.com/")) && !settings.allows(&url("https://b.com/")));
    assert_eq!((settings.max_content_tokens, settings.url_sources), (Some(7), Some(UrlSources::default())));
    assert!(!SearchSettings::of(&tools).allows(&url("https://a.com/")), "what cannot be read allows nothing");
    assert!(SearchSettings::of(&[]).allows(&url("https://a.com/")));
}
