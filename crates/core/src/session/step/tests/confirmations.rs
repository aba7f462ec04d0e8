//! Requests of the sandbox about which a person is asked.

use super::story::Story;
use crate::egress::Question;
use crate::events::client::Confirmation;
use crate::ids::ConfirmationId;
use crate::limits;
use crate::resources::confirmation::Remember;
use crate::session::state::State;
use crate::session::step::Input;

fn question(path: &str) -> Question {
    Question { host: "api.test".into(), port: 443, method: "POST".into(), path: Some(path.into()), rule: "ask api.test".into() }
}

fn asked(paths: &[&str]) -> Input {
    Input::NetworkAsked { questions: paths.iter().map(|path| question(path)).collect() }
}

fn answered(id: &ConfirmationId, result: Confirmation, remember: Remember) -> Input {
    Input::NetworkAnswered { confirmation: id.clone(), result, remember, principal: Story::principal() }
}

fn used(id: &ConfirmationId) -> Input {
    Input::NetworkUsed { confirmation: id.clone() }
}

fn ids(state: &State) -> Vec<ConfirmationId> {
    state.confirmations.iter().map(|asked| asked.id.clone()).collect()
}

#[test]
fn a_question_is_kept_once_and_shows_no_event() {
    let mut story = Story::new();
    let before = story.records.len();
    assert!(story.happens(asked(&["/a", "/b", "/a"])).kinds().is_empty());
    story.happens(asked(&["/b"]));
    assert_eq!((story.records.len() - before, ids(&story.state).len()), (2, 2));
    let paths: Vec<String> = (0..100).map(|at| format!("/{at}")).collect();
    story.happens(asked(&paths.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(ids(&story.state).len(), limits::OPEN_CONFIRMATIONS, "what is too much is not kept");
}

#[test]
fn an_answer_counts_once_or_for_the_session() {
    let mut story = Story::new();
    story.happens(asked(&["/once", "/always"]));
    let [once, always] = &ids(&story.state)[..] else { panic!("two questions") };
    assert!(story.refuses(used(once)).contains("no answer"));
    story.happens(answered(once, Confirmation::Allow, Remember::Once)).happens(answered(always, Confirmation::Deny, Remember::Session));
    assert!(story.refuses(answered(once, Confirmation::Deny, Remember::Once)).contains("has its answer"));
    assert_eq!(story.state.confirmations[0].for_once(), Some(Confirmation::Allow));
    assert!(story.state.confirmations[1].is_remembered() && story.state.confirmations[1].for_once().is_none());
    story.happens(used(once));
    assert!(story.refuses(used(once)).contains("no answer"), "it is used up");
    assert!(story.refuses(used(always)).contains("no answer"), "what is remembered is not used up");
    story.happens(asked(&["/once", "/always"]));
    let kept = ids(&story.state);
    assert!(kept.len() == 2 && !kept.contains(once) && kept.contains(always), "a used answer is asked for again");
    assert!(story.refuses(answered(once, Confirmation::Allow, Remember::Once)).contains("no confirmation"));
    assert_eq!(State::fold(&story.records).as_ref(), Some(&story.state));
}

#[test]
fn answers_that_nobody_uses_do_not_gather() {
    let mut story = Story::new();
    for at in 0..limits::REMEMBERED_CONFIRMATIONS + 5 {
        story.happens(asked(&[&format!("/{at}")]));
        let id = ids(&story.state).pop().unwrap();
        story.happens(answered(&id, Confirmation::Allow, Remember::Once));
    }
    assert_eq!(ids(&story.state).len(), limits::REMEMBERED_CONFIRMATIONS);
    assert_eq!(story.state.confirmations[0].question, question("/5"), "the oldest are gone");
}

#[test]
fn what_is_remembered_is_limited_and_ends_with_the_session() {
    let mut story = Story::new();
    for at in 0..=limits::REMEMBERED_CONFIRMATIONS {
        story.happens(asked(&[&format!("/{at}")]));
        let id = ids(&story.state).pop().unwrap();
        if at < limits::REMEMBERED_CONFIRMATIONS {
            story.happens(answered(&id, Confirmation::Allow, Remember::Session));
        } else {
            assert!(story.refuses(answered(&id, Confirmation::Allow, Remember::Session)).contains("egress.rules"));
            story.happens(answered(&id, Confirmation::Allow, Remember::Once));
        }
    }
    story.happens(Input::Archive);
    assert!(story.state.confirmations.is_empty());
    let count = story.records.len();
    story.happens(asked(&["/late"]));
    assert_eq!(story.records.len(), count);
}
