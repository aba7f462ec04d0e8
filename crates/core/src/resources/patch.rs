//! Fields read more closely than serde does by itself: "absent" told from "null", and objects from lists.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::Refusal;

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

/// Settings called `name` with the fields of a patch; null clears one.
pub(super) fn merged<T: Serialize + DeserializeOwned>(name: &str, settings: &T, patch: Map<String, Value>) -> Result<T, Refusal> {
    let refused = |error: serde_json::Error| Refusal::invalid(format!("{name}: {error}"));
    let mut fields = match serde_json::to_value(settings).map_err(refused)? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.extend(patch);
    fields.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(fields)).map_err(refused)
}

/// Checks numbers of settings called `name`, each with its own name and the least that makes sense.
pub(super) fn check_numbers(name: &str, numbers: impl IntoIterator<Item = (&'static str, Option<u64>, u64)>) -> Result<(), Refusal> {
    for (field, said, least) in numbers {
        if said.is_some_and(|said| said < least || said > u64::from(u32::MAX)) {
            return Err(Refusal::invalid(format!("{name}.{field}: must be {least} to {}", u32::MAX)));
        }
    }
    Ok(())
}
