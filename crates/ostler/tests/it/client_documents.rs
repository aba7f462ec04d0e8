//! `ostler agents`, `environments`, `models`: made, shown, changed, listed, ended.

use serde_json::{Value, json};

use crate::client_kit::{fake, fed, on, ostler};
use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_made_from_flags_shown_changed_and_archived() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let prompt = dir.path().join("prompt.md");
    std::fs::write(&prompt, "You are careful.\nAlways.").unwrap();
    let system = format!("@{}", prompt.display());
    let made = ["agents", "create", "--name", "helper", "--model", "m1", "--system", &system, "--tools", "builtin", "--metadata", "team=a"];
    let made = on(&server, &made).await.fine();
    let id = made.field("id");
    let agent = server.api.get(&format!("/v1/agents/{id}")).await;
    assert_eq!(agent["system"], "You are careful.\nAlways.");
    assert_eq!((&agent["metadata"], &agent["tools"][0]["type"]), (&json!({"team": "a"}), &json!("agent_toolset_20260401")));

    let changed = on(&server, &["agents", "update", &id, "--model", "m2", "--if-version", "1"]).await.fine();
    assert_eq!((changed.field("model"), changed.field("version")), ("m2".to_owned(), "2".to_owned()));
    let refused = on(&server, &["agents", "update", &id, "--model", "m3", "--if-version", "1"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("409") && refused.err.contains("req_"), "{refused:?}");

    let shown = on(&server, &["agents", "show", &id]).await.fine();
    assert!(shown.out.contains("\n             Always.\n"), "further lines are set in: {shown:?}");
    let raw = on(&server, &["agents", "show", &id, "--json"]).await.fine();
    assert_eq!(raw.json(), [server.api.get(&format!("/v1/agents/{id}")).await]);

    assert_eq!(on(&server, &["agents", "archive", &id]).await.fine().out, format!("archived agent {id}\n"));
    assert_eq!(on(&server, &["agents", "list", "--json"]).await.fine().out, "");
    assert_eq!(on(&server, &["agents", "list", "--json", "--archived"]).await.fine().json()[0]["id"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_come_from_a_file_or_from_standard_input() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (agent, tools) = (dir.path().join("agent.json"), dir.path().join("tools.json"));
    std::fs::write(&agent, json!({"name": "filed", "model": {"id": "m1"}, "description": "d"}).to_string()).unwrap();
    std::fs::write(&tools, json!({"type": "custom", "name": "look", "description": "x", "input_schema": {"type": "object"}}).to_string())
        .unwrap();
    let args = ["agents", "create", "--file", agent.to_str().unwrap(), "--tools", tools.to_str().unwrap(), "--json"];
    let made = on(&server, &args).await.fine().json();
    assert_eq!((&made[0]["description"], &made[0]["tools"][0]["name"]), (&json!("d"), &json!("look")));
    let made = fed(server.data_dir(), &["agents", "create", "--file", "-", "--name", "piped"], r#"{"model": "m9"}"#).await.fine();
    assert_eq!((made.field("name"), made.field("model")), ("piped".to_owned(), "m9".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_lives_from_create_to_delete() {
    let server = Server::start().await;
    let id = on(&server, &["environments", "create", "--name", "default"]).await.fine().field("id");
    let changed = on(&server, &["environments", "update", &id, "--name", "night", "--description", "for runs"]).await.fine();
    assert_eq!((changed.field("name"), changed.field("description")), ("night".to_owned(), "for runs".to_owned()));
    assert_eq!(on(&server, &["environments", "show", &id]).await.fine().field("type"), "cloud");
    let list = on(&server, &["environments", "list"]).await.fine().out;
    assert!(list.starts_with("ID ") && list.lines().nth(1).is_some_and(|row| row.starts_with(&id)), "{list}");
    on(&server, &["environments", "archive", &id]).await.fine();
    assert_eq!(on(&server, &["environments", "delete", &id, "--json"]).await.fine().json()[0]["id"], id.as_str());
    assert_eq!(on(&server, &["environments", "show", &id]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_page_after_page_and_print_the_apis_json_unchanged() {
    let server = Server::start().await;
    for number in 0..103 {
        server.api.post("/v1/agents", &json!({"name": format!("agent {number}"), "model": "m"})).await;
    }
    let few = on(&server, &["agents", "list", "--limit", "3"]).await.fine();
    assert_eq!(few.out.lines().count(), 4);
    assert!(few.err.contains("--all"), "{few:?}");
    let all = on(&server, &["agents", "list", "--all", "--json"]).await.fine();
    let names: Vec<String> = all.json().iter().map(|agent| agent["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, (0..103).rev().map(|number| format!("agent {number}")).collect::<Vec<_>>());
    assert_eq!(all.err, "");
    // Byte for byte: the line stands in the server's answer.
    let answer = server.api.request(reqwest::Method::GET, "/v1/agents?limit=1").send().await.unwrap().text().await.unwrap();
    assert!(answer.contains(all.out.lines().next().unwrap()), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_go_on_behind_the_last_id() {
    let model = |id: &str| json!({"type": "model", "id": id, "display_name": id.to_uppercase(), "created_at": "2026-01-02T03:04:05Z"});
    let page = move |line: &str| {
        let (id, more) = match line {
            line if line.contains("after_id=a&") || line.contains("after_id=a ") => ("b", true),
            line if line.contains("after_id=b&") || line.contains("after_id=b ") => ("c", false),
            _ => ("a", true),
        };
        (200, json!({"data": [model(id)], "has_more": more, "first_id": id, "last_id": id}).to_string())
    };
    let url = fake(page).await;
    let dir = tempfile::tempdir().unwrap();
    let env = [("OSTLER_URL", url.as_str()), ("OSTLER_API_KEY", "k")];
    let ids = |values: Vec<Value>| values.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(ostler(dir.path(), &["models", "list", "--all", "--json"], &env).await.fine().json()), ["a", "b", "c"]);
    let two = ostler(dir.path(), &["models", "list", "--limit", "2"], &env).await.fine();
    assert_eq!(two.out, "ID  NAME  CREATED\na   A     2026-01-02T03:04:05Z\nb   B     2026-01-02T03:04:05Z\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_of_a_real_server_are_listed() {
    let server = Server::start().await;
    let answer = server.api.get("/v1/models").await;
    let told = on(&server, &["models", "list", "--all", "--json"]).await.fine();
    assert_eq!(json!(told.json()), answer["data"]);
}
