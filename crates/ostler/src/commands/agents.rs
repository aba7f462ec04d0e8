//! `ostler agents`.

use serde_json::{Map, Value, json};

use super::output::{Column, field, pairs, time};
use super::{Asker, input};
use crate::cli::{AgentFields, AgentsCommand, Named};
use crate::client::{Kind, Listing, Paging, Request, Usage};

const COLUMNS: [Column; 5] = [
    ("id", |agent| field(agent, "/id")),
    ("name", |agent| field(agent, "/name")),
    ("model", |agent| field(agent, "/model/id")),
    ("version", |agent| field(agent, "/version")),
    ("created", |agent| time(agent, "/created_at")),
];

pub(super) async fn run(command: AgentsCommand) -> anyhow::Result<u8> {
    match command {
        AgentsCommand::List(args) => {
            let asker = Asker::new(&args.server)?;
            let request = Request::to("agents").query("include_archived", args.archived.to_string());
            asker.out.list(Listing::new(&asker.client, request, Paging::Cursor, args.page.rows()), &COLUMNS).await
        }
        AgentsCommand::Show { agent, server } => {
            let asker = Asker::new(&server)?;
            let answer = asker.client.get_text(Request::of(Kind::Agent, &agent.agent)).await?;
            show(&asker, &answer)
        }
        AgentsCommand::Create { fields, server } => {
            let asker = Asker::new(&server)?;
            let body = body(&fields)?;
            for needed in ["name", "model"] {
                if body.get(needed).is_none() {
                    return Err(Usage(format!("an agent needs a {needed}: give --{needed}, or a file that has one with --file")).into());
                }
            }
            let answer = asker.client.post_text(Request::to("agents"), &Value::Object(body)).await?;
            show(&asker, &answer)
        }
        AgentsCommand::Update { agent, fields, if_version, server } => {
            let asker = Asker::new(&server)?;
            let mut body = body(&fields)?;
            if let Some(version) = if_version {
                body.insert("version".to_owned(), json!(version));
            }
            something(&body)?;
            let answer = asker.client.post_text(Request::of(Kind::Agent, &agent.agent), &Value::Object(body)).await?;
            show(&asker, &answer)
        }
        AgentsCommand::Archive { agent, server } => Asker::new(&server)?.archive(Kind::Agent, &agent.agent).await,
    }
}

/// What the flags and the file come to.
fn body(fields: &AgentFields) -> anyhow::Result<Map<String, Value>> {
    let readers = [
        fields.named.file.as_ref().is_some_and(|file| file.as_os_str() == "-"),
        fields.system.as_deref() == Some("-"),
        fields.tools.as_deref() == Some("-"),
    ];
    if readers.into_iter().filter(|reads| *reads).count() > 1 {
        return Err(Usage("standard input can be read only once; say - for one of --file, --system and --tools".to_owned()).into());
    }
    let mut body = named(&fields.named)?;
    if let Some(model) = &fields.model {
        body.insert("model".to_owned(), json!(model));
    }
    if let Some(system) = &fields.system {
        body.insert("system".to_owned(), json!(input::text(system)?));
    }
    if let Some(tools) = &fields.tools {
        body.insert("tools".to_owned(), self::tools(tools)?);
    }
    Ok(body)
}

/// What agents and environments have in common: the file, and the flags over it.
pub(super) fn named(fields: &Named) -> anyhow::Result<Map<String, Value>> {
    let mut body = match &fields.file {
        None => Map::new(),
        Some(file) => match input::json_file(file)? {
            Value::Object(object) => object,
            _ => return Err(Usage(format!("{} has no JSON object", file.display())).into()),
        },
    };
    for (name, value) in [("name", &fields.name), ("description", &fields.description)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if !fields.metadata.is_empty() {
        let given = fields.metadata.iter().map(|(key, value)| (key.clone(), json!(value)));
        match body.get_mut("metadata") {
            Some(Value::Object(metadata)) => metadata.extend(given),
            _ => {
                body.insert("metadata".to_owned(), Value::Object(given.collect()));
            }
        }
    }
    Ok(body)
}

/// An update must say what changes.
pub(super) fn something(body: &Map<String, Value>) -> anyhow::Result<()> {
    if body.is_empty() {
        return Err(Usage("nothing to change: name what is to be different, such as --name".to_owned()).into());
    }
    Ok(())
}

fn tools(argument: &str) -> anyhow::Result<Value> {
    if argument == "builtin" {
        return Ok(json!([{"type": "agent_toolset_20260401"}]));
    }
    match input::json_file(argument.strip_prefix('@').unwrap_or(argument).as_ref())? {
        tools @ Value::Array(_) => Ok(tools),
        tool @ Value::Object(_) => Ok(Value::Array(vec![tool])),
        _ => Err(Usage(format!("{argument} has no list of tools; --tools takes a JSON list, or the word builtin")).into()),
    }
}

fn show(asker: &Asker, answer: &str) -> anyhow::Result<u8> {
    let agent: Value = serde_json::from_str(answer)?;
    let tools: Vec<String> = agent["tools"].as_array().into_iter().flatten().map(tool).collect();
    let fields = [
        ("id", field(&agent, "/id")),
        ("name", field(&agent, "/name")),
        ("description", field(&agent, "/description")),
        ("model", field(&agent, "/model/id")),
        ("version", field(&agent, "/version")),
        ("tools", tools.join(", ")),
        ("system", field(&agent, "/system")),
        ("metadata", pairs(&agent, "/metadata")),
        ("created", time(&agent, "/created_at")),
        ("updated", time(&agent, "/updated_at")),
        ("archived", time(&agent, "/archived_at")),
    ];
    asker.out.object(answer, &fields)
}

/// A tool in a few words.
fn tool(tool: &Value) -> String {
    match tool["type"].as_str().unwrap_or("?") {
        "agent_toolset_20260401" => "builtin".to_owned(),
        "custom" => format!("{} (custom)", field(tool, "/name")),
        "mcp_toolset" => format!("{} (mcp)", field(tool, "/mcp_server_name")),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.json");
        std::fs::write(&file, r#"{"name": "a", "model": "m", "metadata": {"x": "1", "y": "2"}, "mcp_servers": []}"#).unwrap();
        let named = Named { name: Some("b".into()), metadata: vec![("y".into(), "3".into())], file: Some(file), ..Named::default() };
        let fields = AgentFields { named, tools: Some("builtin".into()), ..AgentFields::default() };
        let tools = json!([{"type": "agent_toolset_20260401"}]);
        let expected = json!({"name": "b", "model": "m", "metadata": {"x": "1", "y": "3"}, "mcp_servers": [], "tools": tools});
        assert_eq!(Value::Object(body(&fields).unwrap()), expected);
    }

    #[test]
    fn standard_input_is_read_once_at_most() {
        let fields = AgentFields { system: Some("-".into()), tools: Some("-".into()), ..AgentFields::default() };
        assert!(body(&fields).unwrap_err().is::<Usage>());
    }
}
