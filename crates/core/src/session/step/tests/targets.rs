//! Models that stand in for each other: who is asked after which failure.

use serde_json::json;

use super::story::{Story, plan};
use crate::cost::Cost;
use crate::model::ModelErrorKind as Kind;
use crate::session::record::RecordBody;
use crate::session::state::Phase;

fn with_models(models: u64) -> Story {
    Story::made(json!({}), plan(models), None)
}

/// Who is asked, with waits as `~`, until the session rests; every request fails like this.
fn asked(models: u64, kind: impl Fn(u32) -> Kind) -> String {
    let mut story = with_models(models);
    story.message("go");
    let mut seen = Vec::new();
    loop {
        match story.state.phase.clone() {
            Phase::Requesting { ask, .. } => {
                seen.push(ask.attempt.target.to_string());
                story.fails(kind(ask.attempt.target));
            }
            Phase::Backoff { .. } => {
                seen.push("~".to_owned());
                story.timer();
            }
            _ => return seen.concat(),
        }
    }
}

#[test]
fn failures_that_pass_are_tried_again_and_then_elsewhere() {
    assert_eq!(asked(1, |_| Kind::Overloaded), "0~0~0~0~0~0");
    assert_eq!(asked(2, |_| Kind::Overloaded), "0~01~1~0~01~1");
    assert_eq!(asked(3, |_| Kind::Unavailable), "0~01~12~2~0~01~12~2");
}

#[test]
fn failures_that_stay_go_to_the_next_at_once() {
    assert_eq!(asked(1, |_| Kind::Authentication), "0");
    assert_eq!(asked(3, |_| Kind::Authentication), "012");
    assert_eq!(asked(2, |target| if target == 0 { Kind::Authentication } else { Kind::RateLimited }), "01~1~01~1~01");
    assert_eq!(asked(2, |target| if target == 1 { Kind::Billing } else { Kind::Overloaded }), "0~01~0~01~0~01");
}

#[test]
fn a_suspended_model_is_not_waited_for_while_there_is_another() {
    assert_eq!(asked(2, |target| if target == 0 { Kind::Suspended } else { Kind::Overloaded }), "01~1~01~1~01");
    assert_eq!(asked(1, |_| Kind::Suspended), "0~0~0~0~0~0");
}

#[test]
fn a_switch_is_told_and_its_request_is_reserved_at_the_dearest_price() {
    let mut story = with_models(2);
    story.message("go");
    let reserved = story.state.reserved();
    story.told();
    story.fails(Kind::Authentication);
    assert_eq!(story.told(), "!] error [");
    let error = story.records.iter().find_map(|record| match &record.body {
        RecordBody::Faulted { error, .. } => Some(serde_json::to_value(error).unwrap()),
        _ => None,
    });
    let error = error.unwrap();
    assert_eq!(error["retry_status"]["type"], "retrying");
    assert!(error["message"].as_str().unwrap().contains("asking p2/m instead of p1/m"), "{error}");
    assert_eq!(story.state.reserved(), reserved, "the dearest of the list, whoever is asked");
    story.says("hello");
    assert_eq!(story.state.cost, Some(Cost(10 * 2_000 + 5 * 4_000)), "the price of who answered");
}

#[test]
fn a_list_that_got_shorter_begins_anew() {
    let mut story = with_models(2);
    story.message("go").fails(Kind::Authentication);
    story.plan = plan(1).into();
    story.recovers();
    let Phase::Requesting { ask, .. } = &story.state.phase else { panic!() };
    assert_eq!(ask.at.provider, "p1");
    story.plan = std::sync::Arc::new(crate::session::plan::ModelPlan { problem: Some("none is configured".into()), ..Default::default() });
    story.told();
    story.recovers();
    assert_eq!(story.told(), "!] error exhausted");
}
