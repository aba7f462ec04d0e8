//! Fields read more closely than serde does by itself: "absent" told from "null", and objects from lists.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// For `#[serde(default, deserialize_with = "patch::object")]` on `Option<T>`: refuses the list of the
/// fields in order, which serde takes for an object as well.
pub fn object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let fields = Option::<Map<String, Value>>::deserialize(deserializer)?;
    fields.map(|fields| T::deserialize(Value::Object(fields)).map_err(D::Error::custom)).transpose()
}

/// The same on `Option<Option<T>>`: absent is `None`, null is `Some(None)`.
pub fn object_or_null<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    object(deserializer).map(Some)
}

/// For `#[serde(default, deserialize_with = "patch::field")]` on `Option<Option<T>>`: absent is
/// `None`, null is `Some(None)`.
pub fn field<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
