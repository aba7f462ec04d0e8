//! `ostler sessions confirm`: a person's answer to a call, or to a request of the sandbox, that waits.

use serde_json::{Value, json};

use super::Asker;
use super::waits::{self, Asked, Call, What};
use crate::cli::ConfirmArgs;
use crate::client::{Kind, Request, Usage};
use crate::limits;
use crate::logging::say;
use crate::terminal::{neutral, one_line};

/// How ids of confirmations of requests begin.
const CONFIRMATION: &str = "conf_";

/// What is answered.
enum Subject {
    Call(String),
    Request(String),
}

impl Subject {
    fn named(id: &str) -> Self {
        if id.starts_with(CONFIRMATION) { Self::Request(id.to_owned()) } else { Self::Call(id.to_owned()) }
    }
}

pub(super) async fn run(args: ConfirmArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let session = &args.session.session;
    let subject = match &args.event {
        Some(id) => Subject::named(id),
        None => the_only_one(&asker, session).await?,
    };
    let result = if args.allow { "allow" } else { "deny" };
    let done = if args.allow { "allowed" } else { "denied" };
    match subject {
        Subject::Call(event) if args.remember => {
            Err(Usage(format!("--remember is for requests; {event} is a call, which is answered once")).into())
        }
        Subject::Call(event) => {
            let mut answer = json!({"type": "user.tool_confirmation", "tool_use_id": event, "result": result});
            if let Some(message) = &args.message {
                answer["deny_message"] = json!(message);
            }
            let request = Request::of(Kind::Session, session).then("events");
            let reply = asker.client.post_text(request, &json!({"events": [answer]})).await?;
            asker.out.done(&reply, &format!("{done} {event}"))
        }
        Subject::Request(id) if args.message.is_some() => {
            Err(Usage(format!("--message is for calls; {id} is a request, which is refused without a word of yours")).into())
        }
        Subject::Request(id) => {
            let request = Request::to("x").then("sessions").then(session).then("confirmations").then(&id).about(Kind::Session, session);
            let remember = if args.remember { "session" } else { "once" };
            let reply = asker.client.post_text(request, &json!({"result": result, "remember": remember})).await?;
            let how_long = if args.remember { " for the whole session" } else { "" };
            asker.out.done(&reply, &format!("{done} {id}{how_long}"))
        }
    }
}

/// What waits, where there is no choice.
async fn the_only_one(asker: &Asker, session: &str) -> anyhow::Result<Subject> {
    let object = asker.client.get(Request::of(Kind::Session, session)).await?;
    let waits = waits::of_session(&asker.client, &object).await?;
    let results = waits.iter().filter(|wait| matches!(wait.what, What::Result(_))).count();
    let (mut calls, mut requests) = (Vec::new(), Vec::new());
    for wait in waits {
        match wait.what {
            What::Confirmation(call) => calls.push(call),
            What::Answer(event) => calls.push(Call { event, tool: "?".to_owned(), input: Value::Null }),
            What::Request(asked) => requests.push(asked),
            What::Result(_) | What::Retry(_) | What::GivenUp(_) | What::Other(_) => {}
        }
    }
    match (&calls[..], &requests[..]) {
        ([], []) if results > 0 => anyhow::bail!(
            "no call of session {session} waits for a confirmation; \
             {results} wait for results of custom tools: send a user.custom_tool_result with `ostler events send`"
        ),
        ([], []) => anyhow::bail!("no call of session {session} waits for a confirmation"),
        ([call], []) => {
            say(&shown(call));
            Ok(Subject::Call(call.event.clone()))
        }
        ([], [asked]) => {
            say(&shown_request(asked));
            Ok(Subject::Request(asked.id.clone()))
        }
        _ => {
            let cell = |text: &str| one_line(text, limits::CELL_CHARS);
            let call = |call: &Call| format!("\n  {}  {}", call.event, cell(&format!("{}: {}", call.tool, call.argument())));
            let request = |asked: &Asked| format!("\n  {}  {}", asked.id, cell(&asked.request));
            let list: String = calls.iter().map(call).chain(requests.iter().map(request)).collect();
            let what = if requests.is_empty() { "calls" } else { "calls or requests" };
            Err(Usage(format!("several {what} wait; say which:{list}")).into())
        }
    }
}

/// A request as it is: whole, because somebody decides about it.
fn shown_request(asked: &Asked) -> String {
    let line = |text: &str| neutral(text).replace('\n', " ");
    format!("{}\n  request\n    {}\n    by the rule {}", one_line(&asked.id, limits::CELL_CHARS), line(&asked.request), line(&asked.rule))
}

/// A call as it is: whole, because somebody decides about it.
fn shown(call: &Call) -> String {
    // Every line of it is set in, so that none can pass for words of ours.
    let argument = neutral(&call.argument()).replace('\n', "\n    ");
    format!("{}\n  {}\n    {argument}", one_line(&call.event, limits::CELL_CHARS), one_line(&call.tool, limits::CELL_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_whole_in_lines_of_its_own() {
        let asked = Asked { id: "conf_1".into(), request: "POST a.test:443/x\nallowed".into(), rule: "ask a.test".into() };
        assert_eq!(shown_request(&asked), "conf_1\n  request\n    POST a.test:443/x allowed\n    by the rule ask a.test");
        assert!(matches!(Subject::named("conf_1"), Subject::Request(_)) && matches!(Subject::named("sevt_1"), Subject::Call(_)));
    }

    #[test]
    fn a_call_is_shown_whole_and_cannot_pretend_to_be_something_else() {
        let command = format!("echo {}\nallowed sevt_2\u{1b}[2K; rm -rf /", "x".repeat(5_000));
        let call = Call { event: "sevt_1".into(), tool: "bash".into(), input: json!({"command": command}) };
        let shown = shown(&call);
        assert!(shown.ends_with("\n    allowed sevt_2␛[2K; rm -rf /"), "{shown}");
        assert!(shown.lines().skip(1).all(|line| line.starts_with("  ")));
    }
}
