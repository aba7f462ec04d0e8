//! What the model server remembers: requests and how they ended, broken rules, gates. Waiting for
//! any of it needs no sleeping.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::limits::{RECORDED_REQUESTS, RECORDED_VIOLATIONS};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// It is still being answered.
    Pending,
    /// It was answered to the end.
    Answered,
    /// It failed, as scripted.
    Failed {
        /// The status it failed with.
        status: u16,
    },
    /// The connection was cut, as scripted.
    Disconnected,
    /// An error event ended the stream, as scripted.
    BrokenOff,
    /// The client went away.
    Aborted,
    /// It broke a rule.
    Refused {
        /// Which one.
        why: String,
    },
}

/// A request to the model.
#[derive(Debug, Clone, Serialize)]
pub struct RecordedRequest {
    /// Counts from 1.
    pub number: u64,
    /// The path it came to, which tells the dialect.
    pub path: String,
    /// Header names in lower case, and their values.
    pub headers: BTreeMap<String, String>,
    /// The parsed body.
    pub body: Value,
    /// The step of the script it was answered with.
    pub step: usize,
    /// How it ended.
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
struct Book {
    count: u64,
    requests: VecDeque<RecordedRequest>,
    violations: Vec<String>,
    failures: HashMap<(String, usize), u32>,
    open: HashSet<String>,
    reached: HashSet<String>,
}

#[derive(Debug)]
pub(crate) struct Recording {
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self { book: Mutex::new(Book::default()), changed: watch::Sender::new(0) }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Waits until `done` holds of the book.
    async fn until(&self, done: impl Fn(&Book) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if done(&self.book()) {
                return;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Remembers a request; gives its number.
    pub(crate) fn begin(&self, path: &str, headers: BTreeMap<String, String>, body: Value) -> u64 {
        let number = {
            let mut book = self.book();
            book.count += 1;
            let number = book.count;
            if book.requests.len() == RECORDED_REQUESTS {
                book.requests.pop_front();
            }
            book.requests.push_back(RecordedRequest { number, path: path.to_owned(), headers, body, step: 0, outcome: Outcome::Pending });
            number
        };
        self.tell();
        number
    }

    pub(crate) fn at_step(&self, number: u64, step: usize) {
        if let Some(request) = self.book().requests.iter_mut().find(|request| request.number == number) {
            request.step = step;
        }
    }

    pub(crate) fn end(&self, number: u64, outcome: Outcome) {
        {
            let mut book = self.book();
            if let Outcome::Refused { why } = &outcome
                && book.violations.len() < RECORDED_VIOLATIONS
            {
                book.violations.push(format!("request {number}: {why}"));
            }
            if let Some(request) = book.requests.iter_mut().find(|request| request.number == number) {
                request.outcome = outcome;
            }
        }
        self.tell();
    }

    /// Counts a scripted failure; false once all of them happened.
    pub(crate) fn fails_again(&self, key: &str, step: usize, times: u32) -> bool {
        let mut book = self.book();
        let seen = book.failures.entry((key.to_owned(), step)).or_default();
        let fails = *seen < times;
        *seen += u32::from(fails);
        fails
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.book().requests.iter().cloned().collect()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.book().violations.clone()
    }

    pub(crate) fn open(&self, gate: &str) {
        self.book().open.insert(gate.to_owned());
        self.tell();
    }

    /// Waits at a gate until it is opened; it then stays open.
    pub(crate) async fn pass(&self, gate: &str) {
        self.book().reached.insert(gate.to_owned());
        self.tell();
        self.until(|book| book.open.contains(gate)).await;
    }

    pub(crate) async fn reached(&self, gate: &str) {
        self.until(|book| book.reached.contains(gate)).await;
    }

    pub(crate) async fn counted(&self, requests: u64) {
        self.until(|book| book.count >= requests).await;
    }

    pub(crate) async fn ended(&self, number: u64) -> Outcome {
        let of = |book: &Book| book.requests.iter().find(|request| request.number == number).map(|request| request.outcome.clone());
        self.until(|book| book.count >= number && of(book) != Some(Outcome::Pending)).await;
        of(&self.book()).unwrap_or(Outcome::Pending)
    }

    /// Forgets everything but the number of the last request.
    pub(crate) fn reset(&self) {
        let mut book = self.book();
        *book = Book { count: book.count, ..Book::default() };
    }
}
