//! Fields of an update that tell "absent" from "null".

use serde::{Deserialize, Deserializer};

/// For `#[serde(default, deserialize_with = "patch::field")]` on `Option<Option<T>>`: absent is
/// `None`, null is `Some(None)`.
pub fn field<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
