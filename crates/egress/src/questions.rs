//! Requests that wait for a person: held here while the server has somebody asked, for a while and not too many.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use ostler_core::egress::{Answered, Question};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::limits;

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Such a request may go, now.
    Allowed,
    /// It may not.
    Denied,
    /// Nobody answered in time.
    Unanswered,
    /// Too many wait already.
    TooMany,
}

/// The questions of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    /// What was answered for as long as the session lives.
    answers: HashMap<Question, bool>,
    /// What was answered for one request that does not wait any more, and until when that counts.
    once: HashMap<Question, (bool, Instant)>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    question: Question,
    told: oneshot::Sender<bool>,
}

/// How a question begins.
enum Begun {
    Known(bool),
    TooMany,
    Waits(u64, oneshot::Receiver<bool>),
}

/// Takes a request out of those that wait, however its waiting ends.
struct Leaves<'a> {
    questions: &'a Questions,
    number: u64,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.questions.lock().waiting.retain(|waiting| waiting.number != self.number);
    }
}

impl Questions {
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until such a request may go, or not.
    pub(crate) async fn ask(&self, question: Question) -> Outcome {
        let outcome = |is_allowed| if is_allowed { Outcome::Allowed } else { Outcome::Denied };
        let (number, answer) = match self.begin(question) {
            Begun::Known(is_allowed) => return outcome(is_allowed),
            Begun::TooMany => return Outcome::TooMany,
            Begun::Waits(number, answer) => (number, answer),
        };
        let _leaves = Leaves { questions: self, number };
        match timeout(limits::ASKED, answer).await {
            Ok(Ok(is_allowed)) => outcome(is_allowed),
            Ok(Err(_)) | Err(_) => Outcome::Unanswered,
        }
    }

    fn begin(&self, question: Question) -> Begun {
        let mut held = self.lock();
        let now = Instant::now();
        held.once.retain(|_, (_, until)| *until > now);
        let known = held.answers.get(&question).copied().or_else(|| held.once.remove(&question).map(|(is_allowed, _)| is_allowed));
        if let Some(is_allowed) = known {
            return Begun::Known(is_allowed);
        }
        if held.waiting.len() >= limits::HELD_REQUESTS {
            return Begun::TooMany;
        }
        let (told, answer) = oneshot::channel();
        held.next += 1;
        let number = held.next;
        held.waiting.push(Waiting { number, question, told });
        Begun::Waits(number, answer)
    }

    /// The questions that wait, each once.
    pub(crate) fn waiting(&self, most: usize) -> Vec<Question> {
        let held = self.lock();
        let different: BTreeSet<&Question> = held.waiting.iter().map(|waiting| &waiting.question).collect();
        different.into_iter().take(most).cloned().collect()
    }

    /// These are the answers from now on. Who waits for one of them has it.
    pub(crate) fn answer(&self, answers: &[Answered]) {
        let mut held = self.lock();
        held.answers = answers.iter().map(|answered| (answered.question.clone(), answered.is_allowed)).collect();
        let (told, waiting) =
            std::mem::take(&mut held.waiting).into_iter().partition(|waiting| held.answers.contains_key(&waiting.question));
        held.waiting = waiting;
        let told: Vec<Waiting> = told;
        for waiting in told {
            let _ = waiting.told.send(held.answers.get(&waiting.question).copied().unwrap_or_default());
        }
    }

    /// One request has this answer: the first that waits, or the next that comes.
    pub(crate) fn settle(&self, question: Question, is_allowed: bool) {
        let mut held = self.lock();
        while let Some(at) = held.waiting.iter().position(|waiting| waiting.question == question) {
            // One that went away in this moment has not taken it.
            if held.waiting.remove(at).told.send(is_allowed).is_ok() {
                return;
            }
        }
        if held.once.len() < limits::HELD_REQUESTS {
            held.once.insert(question, (is_allowed, Instant::now() + limits::ONCE_COUNTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn question(path: &str) -> Question {
        Question { host: "a.test".into(), port: 443, method: "GET".into(), path: Some(path.into()), rule: "ask a.test".into() }
    }

    async fn asks(questions: &Arc<Questions>, path: &str) -> tokio::task::JoinHandle<Outcome> {
        let before = questions.lock().next;
        let (asked, question) = (Arc::clone(questions), question(path));
        let asking = tokio::spawn(async move { asked.ask(question).await });
        while questions.lock().next == before {
            tokio::task::yield_now().await;
        }
        asking
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_answer_and_not_for_ever() {
        let questions = Arc::<Questions>::default();
        let (first, second, other) = (asks(&questions, "/a").await, asks(&questions, "/a").await, asks(&questions, "/b").await);
        assert_eq!(questions.waiting(10), [question("/a"), question("/b")]);
        questions.settle(question("/a"), true);
        assert_eq!(first.await.unwrap(), Outcome::Allowed);
        questions.answer(&[Answered { question: question("/b"), is_allowed: false }]);
        assert_eq!(other.await.unwrap(), Outcome::Denied);
        assert_eq!(questions.ask(question("/b")).await, Outcome::Denied, "it is remembered");
        assert_eq!(second.await.unwrap(), Outcome::Unanswered, "one answer is for one request");
        assert!(questions.waiting(10).is_empty());
        questions.answer(&[]);
        assert_eq!(questions.ask(question("/b")).await, Outcome::Unanswered);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_is_for_the_next_request_alone() {
        let questions = Arc::<Questions>::default();
        let gone = asks(&questions, "/a").await;
        gone.abort();
        assert!(gone.await.is_err());
        assert!(questions.waiting(10).is_empty(), "who went away does not wait");
        questions.settle(question("/a"), true);
        assert_eq!(questions.ask(question("/a")).await, Outcome::Allowed);
        assert_eq!(questions.ask(question("/a")).await, Outcome::Unanswered);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends() {
        let questions = Arc::<Questions>::default();
        questions.settle(question("/a"), true);
        tokio::time::advance(limits::ONCE_COUNTS).await;
        assert_eq!(questions.ask(question("/a")).await, Outcome::Unanswered);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let questions = Arc::<Questions>::default();
        let mut waiting = Vec::new();
        for _ in 0..limits::HELD_REQUESTS {
            waiting.push(asks(&questions, "/a").await);
        }
        assert_eq!(questions.ask(question("/a")).await, Outcome::TooMany);
        assert_eq!(questions.waiting(10), [question("/a")]);
    }
}
