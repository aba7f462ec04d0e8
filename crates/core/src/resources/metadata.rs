//! The free key-value pairs that clients attach to resources.

use std::borrow::Cow;
use std::collections::BTreeMap;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::error::{Refusal, check_chars};
use crate::limits;

/// Key-value pairs, in key order.
pub type Metadata = BTreeMap<String, String>;
/// Changes to them: null deletes a key.
pub type MetadataPatch = BTreeMap<String, Option<String>>;

/// How [`Metadata`] is described to clients; never made.
#[derive(Debug)]
pub enum MetadataSchema {}

/// How [`MetadataPatch`] is described to clients; never made.
#[derive(Debug)]
pub enum MetadataPatchSchema {}

impl PartialSchema for MetadataSchema {
    fn schema() -> RefOr<Schema> {
        let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(limits::METADATA_KEY_CHARS));
        let pairs = described(Type::String.into()).property_names(Some(key)).max_properties(Some(limits::METADATA_PAIRS));
        pairs.description(Some("Key-value pairs.")).into()
    }
}

impl ToSchema for MetadataSchema {
    fn name() -> Cow<'static, str> {
        "Metadata".into()
    }
}

impl PartialSchema for MetadataPatchSchema {
    fn schema() -> RefOr<Schema> {
        let pairs = described(SchemaType::from_iter([Type::String, Type::Null]));
        pairs.description(Some("Changes to key-value pairs, merged by key: null deletes a key.")).into()
    }
}

impl ToSchema for MetadataPatchSchema {
    fn name() -> Cow<'static, str> {
        "MetadataPatch".into()
    }
}

fn described(value: SchemaType) -> ObjectBuilder {
    let value = ObjectBuilder::new().schema_type(value).max_length(Some(limits::METADATA_VALUE_CHARS));
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(value))
}

/// Refuses metadata beyond the limits, with the code `invalid_metadata`.
pub fn check(metadata: &Metadata) -> Result<(), Refusal> {
    let within = || -> Result<(), Refusal> {
        if metadata.len() > limits::METADATA_PAIRS {
            return Err(Refusal::invalid(format!(
                "metadata: at most {} pairs are allowed, got {}",
                limits::METADATA_PAIRS,
                metadata.len()
            )));
        }
        for (key, value) in metadata {
            if key.is_empty() {
                return Err(Refusal::invalid("metadata: a key is empty"));
            }
            check_chars("metadata: key", key, limits::METADATA_KEY_CHARS)?;
            check_chars("metadata: value", value, limits::METADATA_VALUE_CHARS)?;
        }
        Ok(())
    };
    within().map_err(|refusal| refusal.with_code("invalid_metadata"))
}

/// What an empty value in a patch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyValue {
    /// A value like any other.
    Kept,
    /// The key goes, as with null.
    Deletes,
}

/// The metadata after a patch; refused beyond the limits.
pub fn patched(current: &Metadata, patch: MetadataPatch, empty: EmptyValue) -> Result<Metadata, Refusal> {
    let mut next = current.clone();
    for (key, value) in patch {
        match value {
            Some(value) if !(value.is_empty() && empty == EmptyValue::Deletes) => next.insert(key, value),
            _ => next.remove(&key),
        };
    }
    check(&next)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Metadata {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn null_deletes_and_other_keys_stay() {
        let patch = MetadataPatch::from([("a".into(), None), ("b".into(), Some("2".into())), ("c".into(), Some(String::new()))]);
        let start = map(&[("a", "1"), ("z", "9")]);
        assert_eq!(patched(&start, patch.clone(), EmptyValue::Kept).unwrap(), map(&[("b", "2"), ("c", ""), ("z", "9")]));
        assert_eq!(patched(&start, patch, EmptyValue::Deletes).unwrap(), map(&[("b", "2"), ("z", "9")]));
    }

    #[test]
    fn the_limits_hold_after_the_patch() {
        let full: Metadata = (0..16).map(|i| (i.to_string(), String::new())).collect();
        assert!(check(&full).is_ok());
        let one_more = MetadataPatch::from([("x".into(), Some("y".into()))]);
        assert_eq!(patched(&full, one_more, EmptyValue::Kept).unwrap_err().code, Some("invalid_metadata"));
        assert!(check(&map(&[("k", &"v".repeat(513))])).is_err());
    }
}
