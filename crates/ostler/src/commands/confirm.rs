//! `ostler sessions confirm`: a person's answer to a call that waits.

use serde_json::{Value, json};

use super::Asker;
use super::waits::{self, Call, What};
use crate::cli::ConfirmArgs;
use crate::client::{Kind, Request, Usage};
use crate::limits;
use crate::logging::say;
use crate::terminal::{neutral, one_line};

pub(super) async fn run(args: ConfirmArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let session = &args.session.session;
    let event = match &args.event {
        Some(event) => event.clone(),
        None => {
            let call = the_only_call(&asker, session).await?;
            say(&shown(&call));
            call.event
        }
    };
    let mut answer = json!({"type": "user.tool_confirmation", "tool_use_id": event, "result": if args.allow { "allow" } else { "deny" }});
    if let Some(message) = &args.message {
        answer["deny_message"] = json!(message);
    }
    let request = Request::of(Kind::Session, session).then("events");
    let reply = asker.client.post_text(request, &json!({"events": [answer]})).await?;
    asker.out.done(&reply, &format!("{} {event}", if args.allow { "allowed" } else { "denied" }))
}

/// The call, where there is no choice.
async fn the_only_call(asker: &Asker, session: &str) -> anyhow::Result<Call> {
    let object = asker.client.get(Request::of(Kind::Session, session)).await?;
    let waits = waits::of_session(&asker.client, &object).await?;
    let results = waits.iter().filter(|wait| matches!(wait.what, What::Result(_))).count();
    let mut calls: Vec<Call> = waits
        .into_iter()
        .filter_map(|wait| match wait.what {
            What::Confirmation(call) => Some(call),
            What::Answer(event) => Some(Call { event, tool: "?".to_owned(), input: Value::Null }),
            _ => None,
        })
        .collect();
    match calls.len() {
        0 if results > 0 => anyhow::bail!(
            "no call of session {session} waits for a confirmation; \
             {results} wait for results of custom tools: send a user.custom_tool_result with `ostler events send`"
        ),
        0 => anyhow::bail!("no call of session {session} waits for a confirmation"),
        1 => Ok(calls.remove(0)),
        _ => {
            let line = |call: &Call| {
                format!("\n  {}  {}", call.event, one_line(&format!("{}: {}", call.tool, call.argument()), limits::CELL_CHARS))
            };
            let list: String = calls.iter().map(line).collect();
            Err(Usage(format!("several calls wait; say which:{list}")).into())
        }
    }
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
    fn a_call_is_shown_whole_and_cannot_pretend_to_be_something_else() {
        let command = format!("echo {}\nallowed sevt_2\u{1b}[2K; rm -rf /", "x".repeat(5_000));
        let call = Call { event: "sevt_1".into(), tool: "bash".into(), input: json!({"command": command}) };
        let shown = shown(&call);
        assert!(shown.ends_with("\n    allowed sevt_2␛[2K; rm -rf /"), "{shown}");
        assert!(shown.lines().skip(1).all(|line| line.starts_with("  ")));
    }
}
