//! Queries of the budgets that workspaces share.

use ostler_core::cost::Cost;
use ostler_core::ids::{OrganizationId, SessionId, WorkspaceId};
use rusqlite::params;

use super::convert::id;
use super::db::Db;
use crate::{Reserve, Spend, StoreError, WorkspaceBudget};

/// Amounts and sums beyond this are this: thirty-six million dollars.
const MOST: u64 = 1 << 55;

/// Charges, releases and sets aside in one statement, which changes nothing when the cap is reached.
const SPEND: &str = "INSERT INTO budgets (workspace_id, spent, reserved) VALUES (?1, ?2, max(?3 - ?4, 0)) \
    ON CONFLICT (workspace_id) DO UPDATE SET spent = min(spent + ?2, 36028797018963968), \
    reserved = min(max(reserved + ?3 - ?4, 0), 36028797018963968) \
    WHERE NOT ?5 OR cap IS NULL OR spent + ?2 + reserved - ?4 < cap";

const HAS_CAP: &str = "SELECT 1 FROM budgets WHERE workspace_id = ?1 AND cap IS NOT NULL";

const GET: &str = "SELECT cap, spent, reserved FROM budgets WHERE workspace_id = ?1";

const SET_CAP: &str = "INSERT INTO budgets (workspace_id, cap, spent, reserved) VALUES (?1, ?2, 0, 0) \
    ON CONFLICT (workspace_id) DO UPDATE SET cap = excluded.cap";

const CAPPED: &str = "SELECT id FROM sessions WHERE workspace_id = ?1 AND capped = 1 ORDER BY number";

const CAPPED_WORKSPACES: &str = "SELECT DISTINCT organization_id, workspace_id FROM sessions INDEXED BY sessions_capped WHERE capped = 1";

/// An amount as it is stored.
pub(super) fn nanos(cost: Cost) -> i64 {
    i64::try_from(cost.0.min(MOST)).unwrap_or(i64::MAX)
}

fn cost(nanos: i64) -> Cost {
    Cost(u64::try_from(nanos).unwrap_or(0))
}

/// Does what a batch does to the budget; refuses what it does not admit.
pub(super) fn spend(db: &Db<'_>, workspace: &str, spend: &Spend) -> Result<(), StoreError> {
    if spend.reserve == Reserve::Unpriced && db.first(HAS_CAP, [workspace], |_| Ok(()))?.is_some() {
        return Err(StoreError::CapNeedsPrice);
    }
    let reserve = match spend.reserve {
        Reserve::Amount(amount) => Some(amount),
        Reserve::Nothing | Reserve::Unpriced => None,
    };
    if reserve.is_none() && spend.release == Cost::ZERO && spend.charge == Cost::ZERO {
        return Ok(());
    }
    let values = params![workspace, nanos(spend.charge), nanos(reserve.unwrap_or_default()), nanos(spend.release), reserve.is_some()];
    match db.execute(SPEND, values)? {
        0 => Err(StoreError::CapReached),
        _ => Ok(()),
    }
}

pub(super) fn get(db: &Db<'_>, workspace: &str) -> Result<WorkspaceBudget, StoreError> {
    let found = db.first(GET, [workspace], |row| {
        let cap: Option<i64> = row.get(0)?;
        Ok(WorkspaceBudget { cap: cap.map(cost), spent: cost(row.get(1)?), reserved: cost(row.get(2)?) })
    })?;
    Ok(found.unwrap_or_default())
}

pub(super) fn set_cap(db: &Db<'_>, workspace: &str, cap: Option<Cost>) -> Result<WorkspaceBudget, StoreError> {
    db.execute(SET_CAP, params![workspace, cap.map(nanos)])?;
    get(db, workspace)
}

pub(super) fn capped(db: &Db<'_>, workspace: &str) -> Result<Vec<SessionId>, StoreError> {
    db.all(CAPPED, [workspace], |row| id(row, 0))
}

pub(super) fn capped_workspaces(db: &Db<'_>) -> Result<Vec<(OrganizationId, WorkspaceId)>, StoreError> {
    db.all(CAPPED_WORKSPACES, [], |row| Ok((id(row, 0)?, id(row, 1)?)))
}

/// The queries whose plans must use an index.
#[cfg(test)]
pub(super) fn hot() -> Vec<String> {
    [SPEND, HAS_CAP, GET, SET_CAP, CAPPED].map(str::to_owned).into()
}
