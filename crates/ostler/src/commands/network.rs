//! `ostler sessions network`.

use serde_json::Value;

use super::Asker;
use super::output::{Column, field, time};
use crate::cli::NetworkArgs;
use crate::client::{Kind, Listing, Paging, Request};

const COLUMNS: [Column; 7] = [
    ("at", |line| time(line, "/at")),
    ("decision", decision),
    ("request", asked),
    ("status", |line| field(line, "/status")),
    ("sent", |line| field(line, "/bytes_sent")),
    ("received", |line| field(line, "/bytes_received")),
    ("call", |line| field(line, "/tool_use_id")),
];

pub(super) async fn run(args: NetworkArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let id = &args.session.session;
    let mut request = Request::to("x").then("sessions").then(id).then("network").about(Kind::Session, id);
    if let Some(host) = &args.host {
        request = request.query("host", host);
    }
    if let Some(decision) = &args.decision {
        request = request.query("decision", decision);
    }
    asker.out.list(Listing::new(&asker.client, request, Paging::Cursor, args.page.rows()), &COLUMNS).await
}

fn decision(line: &Value) -> String {
    match (field(line, "/decision").as_str(), field(line, "/code")) {
        ("denied", code) => code,
        (decision, _) => decision.to_owned(),
    }
}

/// Method and address; how many are missing where some are.
fn asked(line: &Value) -> String {
    if let Some(count) = line.pointer("/count") {
        return format!("({count} that were not written down)");
    }
    let port = match field(line, "/port").as_str() {
        "443" => String::new(),
        port => format!(":{port}"),
    };
    format!("{} {}{port}{}", field(line, "/method"), field(line, "/host"), field(line, "/path"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_was_asked_and_decided() {
        let line = json!({"method": "GET", "host": "a.com", "port": 443, "path": "/x", "decision": "allowed", "code": "allowed"});
        assert_eq!((asked(&line), decision(&line)), ("GET a.com/x".to_owned(), "allowed".to_owned()));
        let line =
            json!({"method": "CONNECT", "host": "a.com", "port": 22, "path": null, "decision": "denied", "code": "port_not_allowed"});
        assert_eq!((asked(&line), decision(&line)), ("CONNECT a.com:22".to_owned(), "port_not_allowed".to_owned()));
        assert_eq!(asked(&json!({"count": 3})), "(3 that were not written down)");
    }
}
