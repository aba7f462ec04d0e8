//! `ostler sessions create`.

use serde_json::{Map, Value, json};

use super::{Asker, input, money, sessions};
use crate::cli::CreateArgs;
use crate::client::{Client, Follower, Listing, Paging, Request, Start, Usage, Watch, text};
use crate::limits;
use crate::run::render::Render;
use crate::run::session::message;
use crate::run::turn::{self, Turn};

pub(super) async fn run(args: CreateArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let environment = match &args.environment {
        Some(environment) => environment.clone(),
        None => the_only_environment(&asker.client).await?,
    };
    let mut body = Map::new();
    body.insert("agent".to_owned(), json!(args.agent));
    body.insert("environment_id".to_owned(), json!(environment));
    if let Some(title) = &args.title {
        body.insert("title".to_owned(), json!(title));
    }
    if !args.metadata.is_empty() {
        body.insert("metadata".to_owned(), args.metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect());
    }
    if let Some(cents) = args.budget {
        body.insert("budget".to_owned(), money::budget(cents));
    }
    if let Some(text) = &args.message {
        body.insert("initial_events".to_owned(), json!([message(&words(text)?)]));
    }
    let answer = asker.client.post_text(Request::to("sessions"), &Value::Object(body)).await?;
    if !args.follow {
        return sessions::show(&asker, &answer).await;
    }
    let session = text(&serde_json::from_str(&answer)?, "id")?;
    let mut render = Render::new(args.server.json);
    render.started(&session);
    let watch = Watch { session: session.clone(), previews: true, kinds: &[] };
    let (follower, _) = Follower::open(&asker.client, watch, Start::Beginning).await?;
    Ok(Turn::new(&asker.client, &session, follower, None).watch(&mut render, turn::keyboard()?).await?.code())
}

/// The text of a message, which must say something.
pub(super) fn words(argument: &str) -> anyhow::Result<String> {
    let text = input::text(argument)?;
    if text.trim().is_empty() {
        return Err(Usage("the message is empty; say what the agent is to do".to_owned()).into());
    }
    Ok(text)
}

/// The environment, where there is no choice.
async fn the_only_environment(client: &Client) -> anyhow::Result<String> {
    let found = Listing::new(client, Request::to("environments"), Paging::Cursor, limits::ROWS).values().await?;
    match found.as_slice() {
        [] => Err(Usage("there is no environment yet; make one with: ostler environments create --name default".to_owned()).into()),
        [only] => text(only, "id"),
        several => {
            let name = |environment: &Value| environment["name"].as_str().unwrap_or_default().to_owned();
            let choices: Vec<String> =
                several.iter().map(|one| Ok(format!("\n  {}  {}", text(one, "id")?, name(one)))).collect::<anyhow::Result<_>>()?;
            Err(Usage(format!("there are several environments; say which with --environment:{}", choices.concat())).into())
        }
    }
}
