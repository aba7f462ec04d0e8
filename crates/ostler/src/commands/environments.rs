//! `ostler environments`.

use serde_json::{Value, json};

use super::Asker;
use super::agents::{named, something};
use super::output::{Column, field, pairs, time};
use super::packages;
use crate::cli::EnvironmentsCommand;
use crate::client::{Kind, Listing, Paging, Request, Usage};

const COLUMNS: [Column; 4] = [
    ("id", |environment| field(environment, "/id")),
    ("name", |environment| field(environment, "/name")),
    ("type", |environment| field(environment, "/config/type")),
    ("created", |environment| time(environment, "/created_at")),
];

pub(super) async fn run(command: EnvironmentsCommand) -> anyhow::Result<u8> {
    match command {
        EnvironmentsCommand::List(args) => {
            let asker = Asker::new(&args.server)?;
            let request = Request::to("environments").query("include_archived", args.archived.to_string());
            asker.out.list(Listing::new(&asker.client, request, Paging::Cursor, args.page.rows()), &COLUMNS).await
        }
        EnvironmentsCommand::Show { environment, server } => {
            let asker = Asker::new(&server)?;
            let answer = asker.client.get_text(Request::of(Kind::Environment, &environment.environment)).await?;
            show(&asker, &answer)
        }
        EnvironmentsCommand::Create { fields, server } => {
            let asker = Asker::new(&server)?;
            let mut body = named(&fields)?;
            if !body.contains_key("name") {
                return Err(Usage("an environment needs a name: give --name, or a file that has one with --file".to_owned()).into());
            }
            body.entry("config").or_insert_with(|| json!({"type": "cloud"}));
            let answer = asker.client.post_text(Request::to("environments"), &Value::Object(body)).await?;
            show(&asker, &answer)
        }
        EnvironmentsCommand::Update { environment, fields, server } => {
            let asker = Asker::new(&server)?;
            let body = named(&fields)?;
            something(&body)?;
            let answer = asker.client.post_text(Request::of(Kind::Environment, &environment.environment), &Value::Object(body)).await?;
            show(&asker, &answer)
        }
        EnvironmentsCommand::Packages { environment, build, wait, server } => {
            packages::run(&Asker::new(&server)?, &environment.environment, packages::Wishes { build, wait }).await
        }
        EnvironmentsCommand::Archive { environment, server } => {
            Asker::new(&server)?.archive(Kind::Environment, &environment.environment).await
        }
        EnvironmentsCommand::Delete { environment, server } => {
            Asker::new(&server)?.delete(Kind::Environment, &environment.environment).await
        }
    }
}

fn show(asker: &Asker, answer: &str) -> anyhow::Result<u8> {
    let environment: Value = serde_json::from_str(answer)?;
    let notices: Vec<&str> = environment["notices"].as_array().into_iter().flatten().filter_map(notice).collect();
    let fields = [
        ("id", field(&environment, "/id")),
        ("name", field(&environment, "/name")),
        ("description", field(&environment, "/description")),
        ("type", field(&environment, "/config/type")),
        ("sandbox", pairs(&environment, "/sandbox")),
        ("metadata", pairs(&environment, "/metadata")),
        ("created", time(&environment, "/created_at")),
        ("updated", time(&environment, "/updated_at")),
        ("archived", time(&environment, "/archived_at")),
        ("notices", notices.join("\n")),
    ];
    asker.out.object(answer, &fields)
}

/// What a user of the environment should know.
fn notice(notice: &Value) -> Option<&str> {
    notice.as_str().or_else(|| notice["message"].as_str())
}
