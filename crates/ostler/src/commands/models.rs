//! `ostler models`.

use super::Asker;
use super::output::{Column, field, time};
use crate::cli::ModelsCommand;
use crate::client::{Listing, Paging, Request};

const COLUMNS: [Column; 3] =
    [("id", |model| field(model, "/id")), ("name", |model| field(model, "/display_name")), ("created", |model| time(model, "/created_at"))];

pub(super) async fn run(command: ModelsCommand) -> anyhow::Result<u8> {
    let ModelsCommand::List { page, server } = command;
    let asker = Asker::new(&server)?;
    asker.out.list(Listing::new(&asker.client, Request::to("models"), Paging::AfterId, page.rows()), &COLUMNS).await
}
