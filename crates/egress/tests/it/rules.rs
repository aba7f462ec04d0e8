//! Rules about single requests, requests that wait for a person, and caps.

use std::io::ErrorKind;

use http::StatusCode;
use ostler_core::egress::{Answered, Caps, Question};
use ostler_egress::Terms;
use ostler_egress::policy::{Code, Network, Policy};
use serde_json::{Value, json};

use super::broker::{Broker, limited};
use super::connections::said;
use super::host::{Ca, Host, text};

fn ruled(network: Network, rules: Value) -> Policy {
    Policy { network, inspect_all: false, rules: serde_json::from_value(rules).unwrap() }
}

async fn refusal(answer: reqwest::Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let of = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    assert!(!of("remedy").is_empty() && of("message").contains(&of("host")), "{body}");
    (status, of("code"), of("rule"))
}

/// The question that waits, once there is one.
async fn waiting(broker: &Broker) -> Question {
    loop {
        if let Some((session, mut questions)) = broker.egress.questions().pop() {
            assert_eq!(session, broker.session);
            return questions.pop().unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_request_of_an_opened_connection_is_judged_by_itself() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["h2", "http/1.1"]))).await;
    let rules = json!([
        {"host": "api.test", "methods": ["GET"], "path": "/public/**", "action": "allow"},
        {"host": "api.test", "methods": ["POST"], "path": "/public/*", "action": "allow"},
        {"host": "api.test", "action": "deny"},
    ]);
    let broker = Broker::start(ca, &[("api.test", host.address)], ruled(Network::Unrestricted, rules), None);
    for client in [broker.client(), broker.builder().resolve("api.test", broker.https).build().unwrap()] {
        let send = |method: &str, path: &str| client.request(method.parse().unwrap(), format!("https://api.test{path}")).send();
        let before = host.got().len();
        assert_eq!(send("GET", "/public/a?q=/private").await.unwrap().status(), StatusCode::OK);
        assert_eq!(send("POST", "/public/a").await.unwrap().status(), StatusCode::OK);
        let (status, code, rule) = refusal(send("POST", "/public/a/b").await.unwrap()).await;
        assert_eq!((status, &code[..], &rule[..]), (403, "rule_denies", "egress.rules[2]: deny api.test"));
        assert_eq!(refusal(send("GET", "/private?q=/public/").await.unwrap()).await.1, "rule_denies");
        assert_eq!(refusal(send("GET", "/public/a%2f..%2fb").await.unwrap()).await.1, "ambiguous");
        assert_eq!(refusal(send("get", "/public/a").await.unwrap()).await.1, "ambiguous");
        for header in ["X-HTTP-Method-Override", "x_http_method_override"] {
            let hidden = client.get("https://api.test/public/a").header(header, "DELETE").send().await.unwrap();
            assert_eq!(refusal(hidden).await.1, "ambiguous", "{header}");
        }
        assert_eq!(send("GET", "/public/b").await.unwrap().status(), StatusCode::OK);
        let targets: Vec<String> = host.got().split_off(before).into_iter().map(|got| got.target).collect();
        assert_eq!(targets, ["/public/a?q=/private", "/public/a", "/public/b"]);
    }
}

#[tokio::test]
async fn what_is_judged_is_what_is_sent() {
    let host = Host::echo(None).await;
    let rules = json!([{"host": "plain.test", "path": "/private/**", "action": "deny"}]);
    let broker = Broker::start(Ca::new(), &[("plain.test", host.address)], ruled(Network::Unrestricted, rules), None);
    let ask = |target: &str, header: &str| {
        let head = format!("GET http://plain.test{target} HTTP/1.1\r\nHost: plain.test\r\n{header}Connection: close\r\n\r\n");
        async move { said(broker.proxy, &head).await }
    };
    assert!(ask("//public/./x/%2e%2e/%79?z=..", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(host.got()[0].target, "/public/y?z=..");
    for (target, header, code) in [
        ("/public/../private/x", "", "rule_denies"),
        ("/%70rivate", "", "rule_denies"),
        ("//private", "", "rule_denies"),
        ("/public/..%2fprivate", "", "ambiguous"),
        ("/public/..\\private", "", ""),
        ("/public/..;/private", "", "ambiguous"),
        ("/%2570rivate", "", "ambiguous"),
        ("/public", "X-Original-URL: /private\r\n", "ambiguous"),
        ("/public", "X-HTTP-Method-Override: DELETE\r\n", "ambiguous"),
    ] {
        let answer = ask(target, header).await;
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains(code), "{target} {header}: {answer}");
    }
    assert_eq!(host.got().len(), 1);
}

#[tokio::test]
async fn a_rule_opens_a_port_and_no_address_that_is_not_public() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let rules = json!([
        {"host": "api.test", "ports": [8443], "methods": ["GET"], "action": "allow"},
        {"host": "*.api.test", "ports": [8443], "action": "allow"},
        {"host": "127.0.0.1", "ports": [host.address.port()], "action": "allow"},
    ]);
    let broker = Broker::start(ca, &[("api.test", host.address)], ruled(limited(&[]).network, rules), None);
    let answer = broker.client().get("https://api.test:8443/a").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(host.got()[0].headers["host"], "api.test:8443");
    assert_eq!(refusal(broker.client().post("https://api.test:8443/a").send().await.unwrap()).await.1, "host_not_allowed");
    let connect = |target: String| async move { said(broker.proxy, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await };
    assert!(connect("api.test:443".into()).await.contains("host_not_allowed"));
    assert!(connect(format!("127.0.0.1:{}", host.address.port())).await.contains("address_not_public"));
}

#[tokio::test]
async fn where_all_is_inspected_a_name_cannot_hide_another() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("front.test", &["http/1.1"]))).await;
    let policy = Policy { inspect_all: true, ..limited(&["front.test"]) };
    let broker = Broker::start(ca, &[("front.test", host.address)], policy, None);
    let client = broker.client();
    assert_eq!(client.get("https://front.test/").send().await.unwrap().status(), StatusCode::OK);
    let hidden = client.get("https://front.test/").header("host", "hidden.test").send().await.unwrap();
    assert_eq!(refusal(hidden).await.1, "names_differ");
    assert_eq!(host.got().len(), 1);
}

#[tokio::test]
async fn a_request_waits_for_a_person_and_goes_as_it_is_answered() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let rules = json!([{"host": "api.test", "methods": ["POST"], "action": "ask"}]);
    let broker = Broker::start(ca, &[("api.test", host.address)], ruled(Network::Unrestricted, rules), None);
    let send = || tokio::spawn(broker.client().post("https://api.test/a?secret").body("hello").send());
    let expected =
        Question { host: "api.test".into(), port: 443, method: "POST".into(), path: Some("/a".into()), rule: "ask POST api.test".into() };
    let first = send();
    assert_eq!(waiting(&broker).await, expected);
    assert!(host.got().is_empty());
    assert!(broker.egress.settle(&broker.session, expected.clone(), true));
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!((&host.got()[0].target[..], &host.got()[0].body[..]), ("/a?secret", "hello"));

    let second = send();
    let asked = waiting(&broker).await;
    broker.egress.settle(&broker.session, asked, false);
    let (status, code, rule) = refusal(second.await.unwrap().unwrap()).await;
    assert_eq!((status, &code[..], &rule[..]), (403, "confirmation_denied", "egress.rules[0]: ask POST api.test"));

    let third = send();
    waiting(&broker).await;
    let answers = vec![Answered { question: expected, is_allowed: true }];
    broker.egress.change(&broker.session, Terms { answers, ..broker.terms.clone() }).unwrap();
    assert_eq!(third.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(send().await.unwrap().unwrap().status(), StatusCode::OK, "it is remembered");
    assert_eq!(broker.client().get("https://api.test/").send().await.unwrap().status(), StatusCode::OK);

    // With another policy the request that waits is not judged by the former one any more.
    broker.egress.change(&broker.session, broker.terms.clone()).unwrap();
    let fourth = send();
    waiting(&broker).await;
    broker.egress.change(&broker.session, Terms { policy: Policy::none(), ..broker.terms.clone() }).unwrap();
    assert!(fourth.await.unwrap().is_err_and(|error| !error.is_builder()) || host.got().len() == 4);
    assert_eq!(host.got().len(), 4);
}

#[tokio::test]
async fn nobody_outside_hears_of_a_connection_before_it_is_allowed() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("told.test", &["h2"]))).await;
    let rules = json!([{"host": "*", "action": "ask"}]);
    let resolve = [("asked.test", silent.local_addr().unwrap()), ("told.test", host.address)];
    let broker = Broker::start(ca, &resolve, ruled(Network::None, rules), None);
    let asking = tokio::spawn(broker.client().get("https://asked.test/x").send());
    let question = waiting(&broker).await;
    assert_eq!((&question.method[..], &question.path, &question.rule[..]), ("CONNECT", &None, "ask *"));
    assert_eq!(silent.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    broker.egress.settle(&broker.session, question, false);
    assert_eq!(refusal(asking.await.unwrap().unwrap()).await.1, "confirmation_denied");
    assert_eq!(silent.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // One answer lets one connection through, closed.
    let client = broker.builder().resolve("told.test", broker.https).build().unwrap();
    let asking = tokio::spawn(client.get("https://told.test/x").send());
    let question = waiting(&broker).await;
    broker.egress.settle(&broker.session, question, true);
    let answer = asking.await.unwrap().unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
    assert_eq!(client.get("https://told.test/y").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_spent_is_refused_and_ends_what_is_open() {
    let ca = Ca::new();
    let acceptor = ca.acceptor("api.test", &["http/1.1"]);
    let host = Host::start(Some(acceptor), |got| text(&"x".repeat(if got.target == "/big" { 300_000 } else { 1 }))).await;
    let policy = Policy { inspect_all: true, ..limited(&["api.test"]) };
    let broker = Broker::start(ca, &[("api.test", host.address)], policy, None);
    let terms = |bytes| Terms { caps: Caps { bytes, ..Caps::default() }, ..broker.terms.clone() };
    broker.egress.change(&broker.session, terms(Some(200_000))).unwrap();
    let client = broker.client();
    let get = |path: &str| client.get(format!("https://api.test{path}")).send();
    assert_eq!(get("/small").await.unwrap().text().await.unwrap(), "x");
    let cut = match get("/big").await {
        Ok(answer) => answer.text().await.is_err(),
        Err(_) => true,
    };
    assert!(cut, "it ends where the cap is");
    for target in ["https://api.test:443/", "http://api.test/"] {
        let target = target.trim_end_matches('/');
        let text = match target.strip_prefix("https://") {
            Some(host) => format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            None => format!("GET {target}/ HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        };
        let answer = said(broker.proxy, &text).await;
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("\"too_much\"") && answer.contains("egress.transfer_mib"),
            "{answer}"
        );
    }
    broker.egress.change(&broker.session, terms(Some(1_000_000))).unwrap();
    assert_eq!(get("/small").await.unwrap().text().await.unwrap(), "x", "more is allowed, and goes");
    assert!(broker.records(1).await.iter().any(|record| record.code == Code::TooMuch));
}

#[tokio::test]
async fn who_offers_http2_alone_gets_it_on_an_opened_connection() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["h2", "http/1.1"]))).await;
    let rules = json!([{"host": "api.test", "methods": ["GET"], "action": "allow"}, {"host": "api.test", "action": "deny"}]);
    let broker = Broker::start(ca, &[("api.test", host.address)], ruled(Network::None, rules), None);
    let client = broker.builder().http2_prior_knowledge().resolve("api.test", broker.https).build().unwrap();
    let answer = client.get("https://api.test/a").send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
    assert_eq!(refusal(client.put("https://api.test/a").send().await.unwrap()).await.1, "rule_denies");
    assert_eq!((host.got().len(), host.got()[0].version), (1, http::Version::HTTP_2));
}

#[tokio::test]
async fn every_door_has_a_place_where_there_are_few() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), None);
    let caps = Caps { connections: Some(1), ..Caps::default() };
    broker.egress.change(&broker.session, Terms { caps, ..broker.terms.clone() }).unwrap();
    for _ in 0..2 {
        for client in [broker.client(), broker.builder().resolve("api.test", broker.https).build().unwrap()] {
            // Each ends its connection before the next begins.
            let answer = client.get("https://api.test/").header("connection", "close").send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
}
