//! `ostler sessions`: listing, showing, ending; talking to sessions has its own modules.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::output::{Column, field, pairs, time};
use super::{Asker, confirm, create, money, network, tail, talk, waits};
use crate::cli::{SessionsCommand, SessionsListArgs};
use crate::client::{Kind, Listing, Paging, Request};
use crate::limits;
use crate::logging::say;
use crate::terminal::neutral_json;

const COLUMNS: [Column; 6] = [
    ("id", |session| field(session, "/id")),
    ("status", status),
    ("agent", |session| field(session, "/agent/name")),
    ("model", |session| field(session, "/agent/model/id")),
    ("created", |session| time(session, "/created_at")),
    ("title", |session| field(session, "/title")),
];

pub(super) async fn run(command: SessionsCommand) -> anyhow::Result<u8> {
    match command {
        SessionsCommand::List(args) if args.stuck => stuck(args).await,
        SessionsCommand::List(args) => {
            let asker = Asker::new(&args.server)?;
            let listing = Listing::new(&asker.client, listed(&args), Paging::Cursor, args.page.rows());
            asker.out.list(listing, &COLUMNS).await
        }
        SessionsCommand::Show { session, server } => {
            let asker = Asker::new(&server)?;
            let answer = asker.client.get_text(Request::of(Kind::Session, &session.session)).await?;
            show(&asker, &answer).await
        }
        SessionsCommand::Create(args) => create::run(args).await,
        SessionsCommand::Send(args) => talk::send(args).await,
        SessionsCommand::Interrupt(args) => talk::interrupt(args).await,
        SessionsCommand::Confirm(args) => confirm::run(args).await,
        SessionsCommand::Tail(args) => tail::run(args).await,
        SessionsCommand::Network(args) => network::run(args).await,
        SessionsCommand::Archive { session, server } => Asker::new(&server)?.archive(Kind::Session, &session.session).await,
        SessionsCommand::Delete { session, server } => Asker::new(&server)?.delete(Kind::Session, &session.session).await,
        SessionsCommand::Budget { session, limit, server } => {
            let asker = Asker::new(&server)?;
            let id = &session.session;
            let body = json!({"budget": limit.0.map(money::budget)});
            let answer = asker.client.post_text(Request::of(Kind::Session, id), &body).await?;
            let now = limit.0.map_or_else(|| "has no budget any more".to_owned(), |cents| format!("may spend {}", money::dollars(cents)));
            asker.out.done(&answer, &format!("session {id} {now}"))
        }
        SessionsCommand::Retry { session, server } => {
            let asker = Asker::new(&server)?;
            let id = &session.session;
            let request = Request::to("x").then("sessions").then(id).then("retry").about(Kind::Session, id);
            let answer = asker.client.post_text(request, &Value::Object(serde_json::Map::new())).await?;
            asker.out.done(&answer, &format!("session {id} goes on"))
        }
    }
}

fn listed(args: &SessionsListArgs) -> Request {
    let mut request = Request::to("sessions").query("include_archived", args.archived.to_string());
    if let Some(agent) = &args.agent {
        request = request.query("agent_id", agent);
    }
    args.status.iter().fold(request, |request, status| request.query("statuses[]", status))
}

/// Sessions that do not go on by themselves, and why.
async fn stuck(args: SessionsListArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    // One that runs may wait for a person who allows a request.
    let request =
        ["idle", "rescheduling", "running"].into_iter().fold(listed(&args), |request, status| request.query("statuses[]", status));
    // Those that are looked at are more than those that are shown.
    let mut listing = Listing::new(&asker.client, request, Paging::Cursor, usize::MAX);
    let (now, wanted) = (Timestamp::now(), args.page.rows());
    let (mut rows, mut shown) = (Vec::new(), 0);
    while let Some(page) = listing.page().await? {
        let looks = page.into_iter().map(|text| look(&asker, text));
        let looked: Vec<_> = futures::stream::iter(looks).buffered(limits::LOOKS_AT_ONCE).try_collect().await?;
        for (text, session, waits) in looked.into_iter().filter(|(_, _, waits)| !waits.is_empty()) {
            if shown == wanted {
                asker.finish_stuck(rows)?;
                say("there are more: --all shows everything, --limit N so many");
                return Ok(0);
            }
            shown += 1;
            if asker.out.json {
                asker.out.line(&neutral_json(&text))?;
                continue;
            }
            for (index, wait) in waits.iter().enumerate() {
                // One line for each call; the session is named once.
                let name = |text: String| if index == 0 { text } else { String::new() };
                rows.push(vec![name(field(&session, "/id")), wait.line(now), name(field(&session, "/title"))]);
            }
        }
    }
    asker.finish_stuck(rows)?;
    if shown == 0 {
        say("no session waits for anything");
    }
    Ok(0)
}

impl Asker {
    fn finish_stuck(&self, rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        if self.out.json { Ok(()) } else { self.out.table(&["id", "waits for", "title"], rows) }
    }
}

/// A session with what it waits for. One that was deleted meanwhile waits for nothing.
async fn look(asker: &Asker, text: String) -> anyhow::Result<(String, Value, Vec<waits::Wait>)> {
    let session: Value = serde_json::from_str(&text)?;
    let waits = match waits::of_session(&asker.client, &session).await {
        Err(error) if crate::client::is_missing(&error) => Vec::new(),
        waits => waits?,
    };
    Ok((text, session, waits))
}

/// The state, and that it is over where it is.
fn status(session: &Value) -> String {
    if session["archived_at"].is_string() { "archived".to_owned() } else { field(session, "/status") }
}

/// Shows one session.
pub(super) async fn show(asker: &Asker, answer: &str) -> anyhow::Result<u8> {
    if asker.out.json {
        return asker.out.object(answer, &[]);
    }
    let session: Value = serde_json::from_str(answer)?;
    let waits = waits::of_session(&asker.client, &session).await?;
    let waits: Vec<String> = waits.iter().map(|wait| wait.line(Timestamp::now())).collect();
    let dollars = |pointer: &str| field(&session, pointer).parse().map(money::dollars).unwrap_or_default();
    let fields = [
        ("id", field(&session, "/id")),
        ("title", field(&session, "/title")),
        ("status", status(&session)),
        ("waits for", waits.join("\n")),
        (
            "agent",
            format!("{} version {} ({})", field(&session, "/agent/id"), field(&session, "/agent/version"), field(&session, "/agent/name")),
        ),
        ("model", field(&session, "/agent/model/id")),
        ("environment", field(&session, "/environment_id")),
        ("budget", dollars("/budget/max_list_cost/amount")),
        ("spent", dollars("/usage/list_cost/amount")),
        ("tokens", format!("{} in, {} out", field(&session, "/usage/input_tokens"), field(&session, "/usage/output_tokens"))),
        ("metadata", pairs(&session, "/metadata")),
        ("created", time(&session, "/created_at")),
        ("updated", time(&session, "/updated_at")),
        ("archived", time(&session, "/archived_at")),
    ];
    asker.out.object(answer, &fields)
}
