//! Hot queries must find their rows through an index: a scan would make a turn cost more the more
//! there is.

use rusqlite::Connection;

use crate::sqlite::{budgets, documents, journal, network, schema, sessions};

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = statement.parameter_count();
    let nulls = std::iter::repeat_n(rusqlite::types::Null, count);
    let rows = statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn hot_queries_use_an_index_and_do_not_sort() {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn).unwrap();
    let hot = [documents::hot(), sessions::hot(), journal::hot(), budgets::hot(), network::hot()].concat();
    assert!(hot.len() > 30);
    for sql in hot {
        for step in plan(&conn, &sql) {
            // The arrays bound to a query are read as a whole; the partial index of unfinished
            // sessions holds nothing else.
            let small = step.contains("VIRTUAL TABLE") || step.contains("sessions_unfinished");
            assert!(small || !step.starts_with("SCAN"), "{sql}\n{step}");
            assert!(!step.contains("TEMP B-TREE") || sql.contains("UNION ALL"), "{sql}\n{step}");
        }
    }
}

#[test]
fn idle_sessions_are_not_looked_at_for_recovery() {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn).unwrap();
    let steps = sessions::hot().iter().filter(|sql| sql.contains("unfinished = 1")).flat_map(|sql| plan(&conn, sql)).collect::<Vec<_>>();
    assert!(!steps.is_empty() && steps.iter().all(|step| step.contains("sessions_unfinished")), "{steps:?}");
}

#[test]
fn each_hot_condition_has_its_own_index() {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn).unwrap();
    let hot = [documents::hot(), sessions::hot(), journal::hot(), budgets::hot(), network::hot()].concat();
    let expected = [
        ("agent_id = ?", "sessions_by_agent"),
        ("environment_id = ?", "sessions_by_environment"),
        ("deployment_id = ?", "sessions_by_deployment"),
        ("FROM events WHERE id = ?", "events_by_id"),
        ("FROM documents WHERE 1 AND workspace_id = ? AND kind = ? AND archived_at", "documents_by_creation"),
        ("AND kind = ? AND parent = ?", "documents_by_parent"),
        ("WHERE 1 AND workspace_id = ? AND archived_at IS NULL ORDER BY created_at", "sessions_by_creation"),
        ("FROM records WHERE key > ?", "PRIMARY KEY"),
        ("FROM events WHERE key > ?", "PRIMARY KEY"),
    ];
    for (condition, index) in expected {
        let queries: Vec<_> = hot.iter().filter(|sql| sql.contains(condition)).collect();
        assert!(!queries.is_empty(), "no hot query has {condition}");
        for sql in queries {
            let steps = plan(&conn, sql);
            assert!(steps.iter().any(|step| step.contains(index)), "{sql}\n{steps:?}");
        }
    }
}
