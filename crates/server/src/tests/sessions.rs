//! Sessions and their threads, without turns.

use serde_json::{Value, json};

use super::{ids, server, text};

#[tokio::test]
async fn a_session_lives() {
    let home = server().await.home;
    let (agent, environment) = (home.agent().await, home.environment().await);
    let made =
        home.post("/v1/sessions", json!({"agent": agent, "environment_id": environment, "title": "t", "metadata": {"k": "v"}})).await.ok();
    assert_eq!(
        (&made["type"], &made["status"], &made["agent"]["version"], &made["metadata"]),
        (&json!("session"), &json!("idle"), &json!(1), &json!({"k": "v"}))
    );
    let path = format!("/v1/sessions/{}", text(&made["id"]));
    assert_eq!(home.post(&path, json!({"title": null})).await.ok()["title"], Value::Null);
    home.post(&path, json!({"vault_ids": ["vlt_x"]})).await.refused(400, "invalid_request_error");
    home.action(&format!("/v1/x/sessions/{}/retry", text(&made["id"]))).await.refused(400, "invalid_request_error");
    let archived = home.action(&format!("{path}/archive")).await.ok();
    assert_eq!((&archived["status"], archived["archived_at"].is_string()), (&json!("terminated"), true));
    assert_eq!(ids(&home.get("/v1/sessions").await.ok()), Vec::<String>::new());
    assert_eq!(ids(&home.get("/v1/sessions?include_archived=true&statuses[]=terminated").await.ok()), [text(&made["id"])]);
    assert_eq!(home.delete(&path).await.ok(), json!({"id": made["id"], "type": "session_deleted"}));
    home.delete(&path).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn a_session_keeps_the_version_it_was_made_with() {
    let home = server().await.home;
    let (agent, environment) = (home.agent().await, home.environment().await);
    home.post(&format!("/v1/agents/{agent}"), json!({"system": "two"})).await.ok();
    let pinned = json!({"type": "agent", "id": agent, "version": 1});
    let made = home.post("/v1/sessions", json!({"agent": pinned, "environment_id": environment})).await.ok();
    assert_eq!((&made["agent"]["version"], &made["agent"]["system"]), (&json!(1), &Value::Null));
    let own = json!({"type": "agent_with_overrides", "id": agent, "system": "mine"});
    assert_eq!(home.post("/v1/sessions", json!({"agent": own, "environment_id": environment})).await.ok()["agent"]["system"], "mine");
    let cleared = json!({"type": "agent_with_overrides", "id": agent, "model": null});
    let refused = home.post("/v1/sessions", json!({"agent": cleared, "environment_id": environment})).await;
    assert_eq!(refused.body["error"]["details"]["error_code"], "agent_model_required");
    for nothing in [json!(7), json!({"id": agent}), json!({"type": "agent_with_overrides", "id": agent, "model": 7})] {
        let refused = home.post("/v1/sessions", json!({"agent": nothing, "environment_id": environment})).await;
        let message = text(&refused.body["error"]["message"]);
        assert!(refused.status == 400 && message.contains("an agent is its id"), "{message}");
    }
}

#[tokio::test]
async fn what_is_unknown_archived_or_not_built_starts_no_session() {
    let home = server().await.home;
    let (agent, environment) = (home.agent().await, home.environment().await);
    let hosted = text(&home.post("/v1/environments", json!({"name": "s", "config": {"type": "self_hosted"}})).await.ok()["id"]);
    let table = [
        (json!({"agent": "agent_000000000000000000000000", "environment_id": environment}), 404),
        (json!({"agent": {"type": "agent", "id": agent, "version": 9}, "environment_id": environment}), 404),
        (json!({"agent": agent, "environment_id": "env_000000000000000000000000"}), 404),
        (json!({"agent": agent, "environment_id": hosted}), 400),
        (json!({"agent": agent}), 400),
        (json!({"agent": 5, "environment_id": environment}), 400),
        (json!({"agent": agent, "environment_id": environment, "initial_events": [{"type": "user.interrupt"}]}), 400),
    ];
    for (body, status) in table {
        assert_eq!(home.post("/v1/sessions", body.clone()).await.status.as_u16(), status, "{body}");
    }
    home.action(&format!("/v1/agents/{agent}/archive")).await.ok();
    for wanted in [json!(agent), json!({"type": "agent", "id": agent, "version": 1})] {
        let message =
            home.post("/v1/sessions", json!({"agent": wanted, "environment_id": environment})).await.refused(400, "invalid_request_error");
        assert!(message.contains("archived"));
    }
    assert_eq!(ids(&home.get("/v1/sessions").await.ok()), Vec::<String>::new());
}

#[tokio::test]
async fn sessions_are_listed_both_ways() {
    let home = server().await.home;
    let (agent, environment) = (home.agent().await, home.environment().await);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(home.session(&agent, &environment).await);
    }
    let list = |query: String| {
        let (home, agent) = (home.clone(), agent.clone());
        async move { home.get(&format!("/v1/sessions?agent_id={agent}&{query}")).await }
    };
    assert_eq!(ids(&list("order=asc".into()).await.ok()), made);
    let first = list("limit=2".into()).await.ok();
    assert_eq!((ids(&first), &first["prev_page"]), (vec![made[4].clone(), made[3].clone()], &Value::Null));
    let second = list(format!("limit=2&page={}", text(&first["next_page"]))).await.ok();
    assert_eq!(ids(&second), [made[2].clone(), made[1].clone()]);
    let back = list(format!("limit=2&page={}", text(&second["prev_page"]))).await.ok();
    assert_eq!(ids(&back), ids(&first));
    let third = list(format!("limit=2&page={}", text(&second["next_page"]))).await.ok();
    assert_eq!((ids(&third), &third["next_page"]), (vec![made[0].clone()], &Value::Null));

    let next = text(&first["next_page"]);
    list(format!("limit=2&order=asc&page={next}")).await.refused(400, "invalid_request_error");
    list(format!("page={next}&created_at[gte]=2999-01-01T00:00:00Z")).await.refused(400, "invalid_request_error");
    list("order=up".into()).await.refused(400, "invalid_request_error");
    list("statuses[]=busy".into()).await.refused(400, "invalid_request_error");
    for query in [
        "agent_version=2",
        "memory_store_id=memstore_1",
        "deployment_id=depl_1",
        "statuses[]=running",
        "environment_id=nope",
        "created_at[gt]=2999-01-01T00:00:00Z",
    ] {
        assert_eq!(ids(&list(query.into()).await.ok()), Vec::<String>::new(), "{query}");
    }
    assert_eq!(ids(&home.get("/v1/sessions?agent_id=nope").await.ok()), Vec::<String>::new());
    assert_eq!(ids(&list("statuses=idle&statuses=running".into()).await.ok()).len(), 5);
}

#[tokio::test]
async fn a_session_has_its_primary_thread() {
    let home = server().await.home;
    let session = home.new_session().await;
    let base = format!("/v1/sessions/{session}/threads");
    let listed = home.get(&base).await.ok();
    let thread = &listed["data"][0];
    assert_eq!(
        (&thread["type"], &thread["session_id"], &thread["parent_thread_id"], &thread["status"]),
        (&json!("session_thread"), &json!(session), &Value::Null, &json!("idle"))
    );
    let id = text(&thread["id"]);
    assert_eq!(home.get(&format!("{base}/{id}")).await.ok()["id"], thread["id"]);
    home.action(&format!("{base}/{id}/archive")).await.refused(400, "invalid_request_error");
    home.get(&format!("{base}/sthr_other/events")).await.refused(404, "not_found_error");
    home.get(&format!("{base}/{id}/events")).await.ok();
    assert_eq!(ids(&home.get(&format!("{base}?statuses[]=running")).await.ok()), Vec::<String>::new());
    home.get(&format!("{base}?page=x")).await.refused(400, "invalid_request_error");
}
