//! One suite for every implementation of [`crate::Store`]: stories told through the trait alone.
//! What is particular to one database is tested beside it.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod budgets;
pub mod documents;
pub mod fixtures;
pub mod journal;
pub mod keys;
pub mod network;
pub mod sessions;

/// Makes one `#[tokio::test]` per story. `$open` is an expression giving a new, empty store.
#[macro_export]
macro_rules! conformance_suite {
    ($open:expr) => {
        $crate::conformance_suite! { @each $open;
            keys::epochs_grow_and_the_install_id_stays,
            keys::bootstrap_happens_once,
            keys::keys_stay_in_their_workspace,
            documents::a_document_is_stored_and_read_back,
            documents::the_lock_lets_one_writer_through,
            documents::versions_are_kept_and_paged,
            documents::document_pages_have_no_gaps,
            documents::lists_filter_by_archive_and_creation,
            documents::a_referenced_document_is_not_deleted,
            documents::a_foreign_document_is_unknown,
            documents::children_have_keys_and_room_of_their_own,
            documents::a_family_ends_together,
            sessions::a_session_is_stored_and_read_back,
            sessions::session_pages_have_no_gaps,
            sessions::filters_select,
            sessions::deletion_leaves_a_tombstone_only,
            sessions::recoveries_count_until_progress,
            sessions::a_foreign_session_is_unknown,
            budgets::what_is_spent_and_set_aside_adds_up,
            budgets::a_cap_admits_nothing_once_it_is_reached,
            budgets::a_cap_holds_under_concurrency,
            budgets::a_cap_needs_prices,
            budgets::absurd_amounts_are_bounded,
            budgets::a_deleted_session_has_spent_what_it_set_aside,
            budgets::sessions_that_wait_for_budget_are_found,
            network::network_lines_are_listed_newest_first,
            network::network_logs_are_bounded,
            network::a_network_log_is_of_its_session_alone,
            journal::an_append_must_continue_the_journal,
            journal::a_later_epoch_fences_the_earlier,
            journal::a_stale_batch_fails_alone,
            journal::malformed_batches_are_refused,
            journal::a_claim_is_a_snapshot_and_its_tail,
            journal::the_row_follows_the_batch,
            journal::events_are_queried_by_position_kind_and_time,
            journal::bodies_are_kept_byte_for_byte,
        }
    };
    (@each $open:expr; $($module:ident::$story:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let store = $open;
                $crate::conformance::$module::$story(&store).await;
            }
        )*
    };
    (@each $($rest:tt)*) => { compile_error!("a story is module::name,"); };
}
