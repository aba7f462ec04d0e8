//! `ostler events`: the events of a session as they are.

use serde_json::{Value, json};

use super::output::{Column, field, time};
use super::{Asker, input};
use crate::cli::EventsCommand;
use crate::client::{Kind, Listing, Paging, Request, Usage};
use crate::limits;
use crate::terminal::one_line;

const COLUMNS: [Column; 4] = [
    ("time", |event| time(event, "/processed_at")),
    ("id", |event| field(event, "/id")),
    ("type", |event| field(event, "/type")),
    ("what", what),
];

pub(super) async fn run(command: EventsCommand) -> anyhow::Result<u8> {
    match command {
        EventsCommand::List(args) => {
            let asker = Asker::new(&args.server)?;
            let request = Request::of(Kind::Session, &args.session.session).then("events");
            let request = request.query("order", if args.newest { "desc" } else { "asc" });
            let request = args.types.iter().fold(request, |request, kind| request.query("types[]", kind));
            asker.out.list(Listing::new(&asker.client, request, Paging::Cursor, args.page.rows()), &COLUMNS).await
        }
        EventsCommand::Send(args) => {
            let asker = Asker::new(&args.server)?;
            let events = wrapped(input::json(&input::text(&args.events)?, "what is to be sent")?)?;
            let request = Request::of(Kind::Session, &args.session.session).then("events");
            let answer = asker.client.post_text(request, &events).await?;
            let sent: Value = serde_json::from_str(&answer)?;
            let sent = sent["data"].as_array().into_iter().flatten();
            let words: Vec<String> = sent
                .map(|event| one_line(&format!("sent {} {}", field(event, "/type"), field(event, "/id")), limits::CELL_CHARS))
                .collect();
            asker.out.done(&answer, &words.join("\n"))
        }
    }
}

/// One event, a list of events, or the body of the request as it is.
fn wrapped(value: Value) -> anyhow::Result<Value> {
    match value {
        Value::Array(events) => Ok(json!({ "events": events })),
        body @ Value::Object(_) if body["events"].is_array() => Ok(body),
        event @ Value::Object(_) => Ok(json!({ "events": [event] })),
        _ => Err(Usage("events are JSON objects, such as {\"type\": \"user.interrupt\"}, or a list of them".to_owned()).into()),
    }
}

/// What an event says, in a few words.
fn what(event: &Value) -> String {
    let texts = event["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
    let text = texts.collect::<Vec<_>>().join(" ");
    if !text.is_empty() {
        return text;
    }
    match event["name"].as_str() {
        Some(name) => format!("{name} {}", event["input"]),
        None => ["/error/message", "/stop_reason/type", "/result"]
            .iter()
            .map(|at| field(event, at))
            .find(|text| !text.is_empty())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_come_alone_in_a_list_or_as_the_body() {
        let event = json!({"type": "user.interrupt"});
        let body = json!({"events": [event]});
        for value in [event.clone(), json!([event]), body.clone()] {
            assert_eq!(wrapped(value).unwrap(), body);
        }
        assert!(wrapped(json!("x")).unwrap_err().is::<Usage>());
    }
}
