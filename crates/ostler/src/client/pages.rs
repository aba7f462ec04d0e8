//! Lists, page by page, each object as the text that came.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Client, ClientError, Request, StreamEvent};
use crate::limits;

/// How the next page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paging {
    /// With the cursor of the page before, as `page`.
    Cursor,
    /// With the id of the last object, as `after_id`.
    AfterId,
}

/// A list that is read page by page.
#[derive(Debug)]
pub(crate) struct Listing {
    client: Client,
    request: Request,
    paging: Paging,
    /// How many more are wanted.
    left: usize,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    Nothing,
}

#[derive(Debug, Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    next_page: Option<String>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

impl Listing {
    /// At most `limit` objects of the list.
    pub(crate) fn new(client: &Client, request: Request, paging: Paging, limit: usize) -> Self {
        Self { client: client.clone(), request, paging, left: limit, next: Next::First }
    }

    /// The next page, as it came; `None` when there is nothing more or enough.
    pub(crate) async fn page(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let request = self.request.clone().query("limit", self.left.min(limits::PAGE).to_string());
        let request = match &self.next {
            _ if self.left == 0 => return Ok(None),
            Next::Nothing => return Ok(None),
            Next::First => request,
            Next::After(token) if self.paging == Paging::Cursor => request.query("page", token.clone()),
            Next::After(id) => request.query("after_id", id.clone()),
        };
        let text = self.client.get_text(request).await?;
        let strange = |what: String| ClientError::Strange { url: self.client.url().to_owned(), what };
        let page: Page<'_> = serde_json::from_str(&text).map_err(|error| strange(error.to_string()))?;
        let next = match self.paging {
            Paging::Cursor => page.next_page,
            Paging::AfterId => page.last_id.filter(|_| page.has_more),
        };
        let next = next.filter(|token| !token.is_empty());
        // A server that repeats itself would be asked for ever.
        if matches!((&self.next, &next), (Next::After(before), Some(now)) if before == now) {
            return Err(strange("the next page is the page before".to_owned()).into());
        }
        self.next = next.map_or(Next::Nothing, Next::After);
        let rows: Vec<String> = page.data.into_iter().take(self.left).map(|row| row.get().to_owned()).collect();
        self.left -= rows.len();
        Ok(Some(rows))
    }

    /// Whether the server has more than was wanted.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self.next, Next::After(_))
    }

    /// All that is wanted, as values.
    pub(crate) async fn values(mut self) -> anyhow::Result<Vec<Value>> {
        let mut values = Vec::new();
        while let Some(page) = self.page().await? {
            for row in page {
                values.push(serde_json::from_str(&row)?);
            }
        }
        Ok(values)
    }

    /// All that is wanted, as events without a position.
    pub(crate) async fn events(mut self) -> anyhow::Result<Vec<StreamEvent>> {
        let mut events = Vec::new();
        while let Some(page) = self.page().await? {
            for text in page {
                events.push(StreamEvent { id: None, data: serde_json::from_str(&text)?, text });
            }
        }
        Ok(events)
    }
}
