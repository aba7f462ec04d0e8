//! Stories of plain documents.

use ostler_core::time::Timestamp;

use super::fixtures::{agent, child, create, home, revised, row, stranger};
use crate::{
    ChildInsertion, Cursor, Document, DocumentDeletion, DocumentFilter, OpenWork, PageRequest, SessionDeletion, SessionRef, Store,
    StoreError, TimeRange,
};

fn ids(rows: &[Document]) -> Vec<&str> {
    rows.iter().map(|doc| doc.id.as_str()).collect()
}

/// What goes in comes out; an id is taken once per kind.
pub async fn a_document_is_stored_and_read_back(store: &dyn Store) {
    let doc = Document { archived_at: Some(Timestamp(3)), ..agent("agent_1", 2) };
    store.insert_document(&home(), &doc).await.unwrap();
    assert_eq!(store.document(&home(), "agent", "agent_1").await, Ok(Some(doc.clone())));
    assert_eq!(store.document(&home(), "environment", "agent_1").await, Ok(None));
    assert!(matches!(store.insert_document(&home(), &doc).await, Err(StoreError::Conflict(_))));
    store.insert_document(&home(), &Document { kind: "environment".to_owned(), ..doc }).await.unwrap();
}

/// Of two replacements of the same content one wins.
pub async fn the_lock_lets_one_writer_through(store: &dyn Store) {
    let home = home();
    let first = agent("agent_1", 1);
    store.insert_document(&home, &first).await.unwrap();
    let second = revised(&first);
    let (a, b) = tokio::join!(store.replace_document(&home, &second, 1, true), store.replace_document(&home, &second, 1, true));
    assert_eq!(usize::from(a.unwrap()) + usize::from(b.unwrap()), 1);
    assert!(matches!(store.replace_document(&home, &second, 2, true).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.replace_document(&home, &revised(&second), 2, true).await, Ok(true));
    assert_eq!(store.replace_document(&home, &Document { id: "agent_0".to_owned(), ..second }, 1, true).await, Ok(false));
}

/// Replaced versions stay readable if asked for; without a new version nothing is kept.
pub async fn versions_are_kept_and_paged(store: &dyn Store) {
    let home = home();
    let mut doc = agent("agent_1", 1);
    store.insert_document(&home, &doc).await.unwrap();
    for _ in 2..=5 {
        let next = revised(&doc);
        assert_eq!(store.replace_document(&home, &next, doc.lock, true).await, Ok(true));
        doc = next;
    }
    let archived = Document { lock: doc.lock + 1, archived_at: Some(Timestamp(9)), ..doc.clone() };
    assert_eq!(store.replace_document(&home, &archived, doc.lock, true).await, Ok(true));
    assert_eq!(store.document_version(&home, "agent", "agent_1", 1).await, Ok(Some(agent("agent_1", 1))));
    assert_eq!(store.document_version(&home, "agent", "agent_1", 5).await, Ok(Some(archived)));
    assert_eq!(store.document_version(&home, "agent", "agent_1", 6).await, Ok(None));

    let page = store.document_versions(&home, "agent", "agent_1", &PageRequest::first(3)).await.unwrap();
    assert_eq!(page.rows.iter().map(|doc| doc.version).collect::<Vec<_>>(), [5, 4, 3]);
    assert!(page.has_next && !page.has_prev);
    let after = PageRequest::after(Cursor::of_version(&page.rows[2]), 3);
    let page = store.document_versions(&home, "agent", "agent_1", &after).await.unwrap();
    assert_eq!(page.rows.iter().map(|doc| doc.version).collect::<Vec<_>>(), [2, 1]);
    assert!(!page.has_next && page.has_prev);
    assert_eq!(store.delete_document(&home, "agent", "agent_1", None).await, Ok(DocumentDeletion::Deleted));
    assert_eq!(store.document_version(&home, "agent", "agent_1", 1).await, Ok(None));
}

/// Walking forward and back again sees every row once, equal times included.
pub async fn document_pages_have_no_gaps(store: &dyn Store) {
    let home = home();
    for n in 0..7 {
        store.insert_document(&home, &agent(&format!("agent_{n}"), n / 3)).await.unwrap();
    }
    let all = DocumentFilter::default();
    let newest_first = ["agent_6", "agent_5", "agent_4", "agent_3", "agent_2", "agent_1", "agent_0"];
    let mut request = PageRequest::first(3);
    let mut seen = Vec::new();
    let mut last = None;
    loop {
        let page = store.documents(&home, "agent", &all, &request).await.unwrap();
        assert_eq!(page.has_prev, last.is_some());
        seen.extend(page.rows.clone());
        last = page.rows.last().cloned();
        request = PageRequest::after(Cursor::of_document(last.as_ref().unwrap()), 3);
        if !page.has_next {
            break;
        }
    }
    assert_eq!(ids(&seen), newest_first);
    let beyond = store.documents(&home, "agent", &all, &request).await.unwrap();
    assert!(beyond.rows.is_empty() && !beyond.has_next && beyond.has_prev);
    let back = PageRequest::before(Cursor::of_document(&last.unwrap()), 4);
    let page = store.documents(&home, "agent", &all, &back).await.unwrap();
    assert_eq!(ids(&page.rows), &newest_first[2..6]);
    assert!(page.has_next && page.has_prev);
    let back = PageRequest::before(Cursor::of_document(&page.rows[0]), 4);
    let page = store.documents(&home, "agent", &all, &back).await.unwrap();
    assert_eq!(ids(&page.rows), &newest_first[..2]);
    assert!(page.has_next && !page.has_prev);
}

/// Archived documents show on request only; each bound of creation holds.
pub async fn lists_filter_by_archive_and_creation(store: &dyn Store) {
    let home = home();
    for n in 1..=4 {
        let archived_at = (n == 2).then_some(Timestamp(9));
        store.insert_document(&home, &Document { archived_at, ..agent(&format!("agent_{n}"), n) }).await.unwrap();
    }
    let at = |n| Some(Timestamp(n));
    let cases = [
        (false, TimeRange::default(), vec!["agent_4", "agent_3", "agent_1"]),
        (true, TimeRange::default(), vec!["agent_4", "agent_3", "agent_2", "agent_1"]),
        (true, TimeRange { gte: at(2), lt: at(4), ..TimeRange::default() }, vec!["agent_3", "agent_2"]),
        (true, TimeRange { gt: at(2), lte: at(4), ..TimeRange::default() }, vec!["agent_4", "agent_3"]),
    ];
    for (include_archived, created, expected) in cases {
        let filter = DocumentFilter { include_archived, created, parent: None };
        let page = store.documents(&home, "agent", &filter, &PageRequest::first(10)).await.unwrap();
        assert_eq!(ids(&page.rows), expected, "{filter:?}");
    }
}

/// An environment in use stays until its sessions are gone.
pub async fn a_referenced_document_is_not_deleted(store: &dyn Store) {
    let home = home();
    let environment = Document { kind: "environment".to_owned(), ..agent("env_one", 1) };
    store.insert_document(&home, &environment).await.unwrap();
    let session = row("a", 1);
    create(store, &session, 1).await;
    let unless = Some(SessionRef::Environment);
    assert_eq!(store.delete_document(&home, "environment", "env_one", unless).await, Ok(DocumentDeletion::Referenced));
    assert!(store.document(&home, "environment", "env_one").await.unwrap().is_some());
    assert_eq!(store.delete_session(&home, 1, &session.id, Timestamp(5), OpenWork::Kept).await, Ok(SessionDeletion::Deleted));
    assert_eq!(store.delete_document(&home, "environment", "env_one", unless).await, Ok(DocumentDeletion::Deleted));
    assert_eq!(store.delete_document(&home, "environment", "env_one", unless).await, Ok(DocumentDeletion::NotFound));
}

/// A child needs a living parent, a key of its own and room; what is archived frees both.
pub async fn children_have_keys_and_room_of_their_own(store: &dyn Store) {
    let home = home();
    store.insert_document(&home, &agent("agent_1", 1)).await.unwrap();
    store.insert_document(&home, &agent("agent_2", 1)).await.unwrap();
    let first = child("c1", "agent_1", "k", 1);
    assert_eq!(store.insert_child(&home, &first, "agent", 2).await, Ok(ChildInsertion::Inserted));
    assert_eq!(store.document(&home, "child", "c1").await, Ok(Some(first.clone())));
    let insert = async |id: &str, parent: &str, key: &str| store.insert_child(&home, &child(id, parent, key, 2), "agent", 2).await.unwrap();
    assert_eq!(insert("c2", "agent_1", "k").await, ChildInsertion::KeyTaken);
    assert_eq!(insert("c2", "agent_2", "k").await, ChildInsertion::Inserted);
    assert_eq!(insert("c3", "agent_1", "l").await, ChildInsertion::Inserted);
    assert_eq!(insert("c4", "agent_1", "m").await, ChildInsertion::Full);
    assert_eq!(insert("c4", "agent_3", "m").await, ChildInsertion::NoParent);
    assert!(matches!(store.insert_child(&home, &agent("a", 1), "agent", 2).await, Err(StoreError::Invalid(_))));
    let archived = Document { lock: 2, archived_at: Some(Timestamp(5)), ..first };
    assert_eq!(store.replace_document(&home, &archived, 1, false).await, Ok(true));
    assert_eq!(store.document(&home, "child", "c1").await.unwrap().unwrap().sealed, None, "what is archived holds no secret");
    assert_eq!(insert("c4", "agent_1", "k").await, ChildInsertion::Inserted);
    let of = |parent: &str| DocumentFilter { parent: Some(parent.to_owned()), ..DocumentFilter::default() };
    let page = store.documents(&home, "child", &of("agent_1"), &PageRequest::first(10)).await.unwrap();
    assert_eq!(ids(&page.rows), ["c4", "c3"]);
}

/// A family is archived and deleted at once.
pub async fn a_family_ends_together(store: &dyn Store) {
    let (home, stranger) = (home(), stranger());
    store.insert_document(&home, &agent("agent_1", 1)).await.unwrap();
    for (id, key) in [("c1", "k"), ("c2", "l")] {
        store.insert_child(&home, &child(id, "agent_1", key, 1), "agent", 9).await.unwrap();
    }
    assert_eq!(store.archive_family(&stranger, "agent", "agent_1", Timestamp(5)).await, Ok(false));
    assert_eq!(store.archive_family(&home, "agent", "agent_1", Timestamp(5)).await, Ok(true));
    assert_eq!(store.archive_family(&home, "agent", "agent_1", Timestamp(7)).await, Ok(true));
    for (kind, id) in [("agent", "agent_1"), ("child", "c1"), ("child", "c2")] {
        let doc = store.document(&home, kind, id).await.unwrap().unwrap();
        assert_eq!((doc.archived_at, doc.sealed), (Some(Timestamp(5)), None), "{id}");
    }
    assert_eq!(store.insert_child(&home, &child("c3", "agent_1", "k", 1), "agent", 9).await, Ok(ChildInsertion::ParentArchived));
    assert_eq!(store.delete_document(&home, "agent", "agent_1", None).await, Ok(DocumentDeletion::Deleted));
    assert_eq!(store.document(&home, "child", "c1").await, Ok(None));
}

/// Every operation on a foreign document answers as on an unknown one.
pub async fn a_foreign_document_is_unknown(store: &dyn Store) {
    let (home, stranger) = (home(), stranger());
    let doc = agent("agent_1", 1);
    assert!(matches!(store.insert_document(&stranger, &doc).await, Err(StoreError::OutOfScope(_))));
    store.insert_document(&home, &doc).await.unwrap();
    assert_eq!(store.document(&stranger, "agent", "agent_1").await, Ok(None));
    assert_eq!(store.document_version(&stranger, "agent", "agent_1", 1).await, Ok(None));
    let page = PageRequest::first(10);
    assert!(store.documents(&stranger, "agent", &DocumentFilter::default(), &page).await.unwrap().rows.is_empty());
    assert!(store.document_versions(&stranger, "agent", "agent_1", &page).await.unwrap().rows.is_empty());
    let mut stolen = revised(&doc);
    stolen.organization = "org_stranger".parse().unwrap();
    stolen.workspace = "wrkspc_stranger".parse().unwrap();
    assert_eq!(store.replace_document(&stranger, &stolen, 1, true).await, Ok(false));
    assert_eq!(store.delete_document(&stranger, "agent", "agent_1", None).await, Ok(DocumentDeletion::NotFound));
    assert_eq!(store.document(&home, "agent", "agent_1").await, Ok(Some(doc)));
}
