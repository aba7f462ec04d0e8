//! Pages of lists and their cursors. A cursor is opaque to clients: the kind of list, the order and
//! the row next to the page, so that one list's cursor is refused by another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostler_core::error::Refusal;
use ostler_core::time::Timestamp;
use ostler_store::{Cursor, Direction, Order, PageRequest, TimeRange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits;
use crate::query::{self, Params};

/// The version of what is in a cursor.
const VERSION: u8 = 1;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListPage<T> {
    /// The rows.
    pub(crate) data: Vec<T>,
    /// What to send as `page` for the next rows; null at the end.
    pub(crate) next_page: Option<String>,
}

/// One page of a list that can be read both ways.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TwoWayPage<T> {
    /// The rows.
    pub(crate) data: Vec<T>,
    /// What to send as `page` for the next rows; null at the end.
    pub(crate) next_page: Option<String>,
    /// What to send as `page` for the rows before; null at the start.
    pub(crate) prev_page: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: u8,
    list: String,
    desc: bool,
    back: bool,
    key: i64,
    id: String,
}

/// A list as its cursors know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    /// The kind of list.
    pub(crate) kind: &'a str,
    /// Its order.
    pub(crate) order: Order,
}

impl List<'_> {
    /// The cursor for the rows after (or before) a row.
    pub(crate) fn token(self, cursor: Cursor, direction: Direction) -> String {
        let token = Token {
            v: VERSION,
            list: self.kind.to_owned(),
            desc: self.order == Order::Descending,
            back: direction == Direction::Backward,
            key: cursor.sort_key,
            id: cursor.id,
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// Reads a cursor of this list.
    pub(crate) fn read(self, text: &str) -> Result<(Cursor, Direction), Refusal> {
        let token = decode(text).filter(|token| token.v == VERSION && token.list == self.kind);
        let token = token
            .ok_or_else(|| Refusal::invalid("page: not a cursor of this list; send next_page of the answer before, or leave it out"))?;
        if token.desc != (self.order == Order::Descending) {
            return Err(Refusal::invalid("page: the cursor belongs to the other order; keep order the same from page to page"));
        }
        let direction = if token.back { Direction::Backward } else { Direction::Forward };
        Ok((Cursor { sort_key: token.key, id: token.id }, direction))
    }

    /// The page that a request asks for.
    pub(crate) fn request(self, params: &Params, usual: usize, most: usize) -> Result<PageRequest, Refusal> {
        let limit = params.limit(usual, most)?;
        let Some(text) = params.one("page") else { return Ok(PageRequest::first(limit)) };
        let (cursor, direction) = self.read(text)?;
        Ok(PageRequest { limit, cursor: Some(cursor), direction })
    }
}

fn decode(text: &str) -> Option<Token> {
    if text.len() > limits::CURSOR_BYTES {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Refuses a cursor that a filter by creation excludes: the list would silently start elsewhere.
pub(crate) fn check_span(page: &PageRequest, created: &TimeRange) -> Result<(), Refusal> {
    match &page.cursor {
        Some(cursor) if !query::contains(created, Timestamp(cursor.sort_key)) => {
            Err(Refusal::invalid("page: the created_at filter excludes the cursor; start again without page"))
        }
        _ => Ok(()),
    }
}

/// `order`, or what is usual.
pub(crate) fn order(params: &Params, usual: Order) -> Result<Order, Refusal> {
    match params.one("order") {
        None => Ok(usual),
        Some("asc") => Ok(Order::Ascending),
        Some("desc") => Ok(Order::Descending),
        Some(_) => Err(Refusal::invalid("order: must be asc or desc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: List<'static> = List { kind: "agent", order: Order::Descending };

    #[test]
    fn a_cursor_reads_back() {
        let cursor = Cursor { sort_key: -5, id: "agent_1".into() };
        for direction in [Direction::Forward, Direction::Backward] {
            assert_eq!(AGENTS.read(&AGENTS.token(cursor.clone(), direction)).unwrap(), (cursor.clone(), direction));
        }
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let token = AGENTS.token(Cursor { sort_key: 1, id: "x".into() }, Direction::Forward);
        assert!(List { kind: "environment", ..AGENTS }.read(&token).is_err());
        assert!(List { order: Order::Ascending, ..AGENTS }.read(&token).is_err());
        for text in ["not-a-cursor", "", "AAAA", "e30", &"A".repeat(10_000)] {
            assert!(AGENTS.read(text).is_err(), "{text}");
        }
        let future = URL_SAFE_NO_PAD.encode(r#"{"v":2,"list":"agent","desc":true,"back":false,"key":1,"id":"x"}"#);
        assert!(AGENTS.read(&future).is_err());
    }

    #[test]
    fn a_filter_must_not_exclude_the_cursor() {
        let page = PageRequest::after(Cursor { sort_key: 5, id: String::new() }, 1);
        assert!(check_span(&page, &TimeRange { gte: Some(Timestamp(5)), ..TimeRange::default() }).is_ok());
        assert!(check_span(&page, &TimeRange { gt: Some(Timestamp(5)), ..TimeRange::default() }).is_err());
        assert!(check_span(&PageRequest::first(1), &TimeRange { gt: Some(Timestamp(5)), ..TimeRange::default() }).is_ok());
    }
}
