//! Vaults: collections of credentials that sessions may use.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::metadata::{self, EmptyValue, Metadata, MetadataPatch, MetadataPatchSchema, MetadataSchema};
use crate::error::{Refusal, check_chars};
use crate::limits;

/// `POST /v1/vaults`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct VaultCreateParams {
    /// A name for people.
    #[schema(min_length = 1, max_length = 255)]
    pub display_name: String,
    /// Key-value pairs.
    #[serde(default)]
    #[schema(value_type = Option<MetadataSchema>)]
    pub metadata: Option<Metadata>,
}

/// `POST /v1/vaults/{id}`: absent fields stay.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct VaultUpdateParams {
    /// Replaces the name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Merged by key; null deletes a key.
    #[serde(default)]
    #[schema(value_type = Option<MetadataPatchSchema>)]
    pub metadata: Option<MetadataPatch>,
}

/// What a vault is, without its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultBody {
    /// A name for people.
    pub display_name: String,
    /// Key-value pairs.
    #[schema(value_type = MetadataSchema)]
    pub metadata: Metadata,
}

impl VaultBody {
    /// A new vault from what a client sent.
    pub fn create(params: VaultCreateParams) -> Result<Self, Refusal> {
        let body = Self { display_name: params.display_name, metadata: params.metadata.unwrap_or_default() };
        check_display_name(&body.display_name)?;
        metadata::check(&body.metadata)?;
        Ok(body)
    }

    /// This vault after an update.
    pub fn updated(&self, params: VaultUpdateParams) -> Result<Self, Refusal> {
        let mut next = self.clone();
        if let Some(name) = params.display_name {
            check_display_name(&name)?;
            next.display_name = name;
        }
        if let Some(patch) = params.metadata {
            next.metadata = metadata::patched(&self.metadata, patch, EmptyValue::Kept)?;
        }
        Ok(next)
    }
}

pub(super) fn check_display_name(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::invalid("display_name: must not be empty"));
    }
    check_chars("display_name", name, limits::DISPLAY_NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn create(value: Value) -> Result<VaultBody, Refusal> {
        VaultBody::create(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_vault_has_a_name_of_limited_length() {
        assert!(create(json!({"display_name": "x".repeat(255)})).is_ok());
        for bad in ["", " ", &"x".repeat(256)] {
            assert!(create(json!({"display_name": bad})).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let body = create(json!({"display_name": "a", "metadata": {"k": "1", "l": "2"}})).unwrap();
        let next = body.updated(serde_json::from_value(json!({"metadata": {"k": null, "m": ""}})).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&next).unwrap(), json!({"display_name": "a", "metadata": {"l": "2", "m": ""}}));
        assert!(body.updated(serde_json::from_value(json!({"display_name": ""})).unwrap()).is_err());
    }
}
