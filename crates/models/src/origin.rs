//! What made a block, and what of a conversation survives a switch of model, provider or dialect.
//!
//! The context keeps every block as its maker sent it, with the maker's name in the private field
//! `"ostler"`, and nothing is ever taken out of it. What a request carries is decided anew for each
//! target, as a function of the history and the target alone; so a target sees the same beginning
//! of a conversation in every request, whoever answered in between. The field itself never leaves.
//!
//! | in the context | to Anthropic Messages | to Chat Completions |
//! |---|---|---|
//! | text, calls, results | as they are | as they are |
//! | images | as they are | as `image_url`; those in results in a message behind the results |
//! | documents | as they are | text as text; PDFs as file parts or as a note that one was here |
//! | signed or sealed thinking | to the provider that made it, unchanged | not sent |
//! | thinking without a signature | to the provider and model that made it | not sent |
//! | reasoning of Chat Completions | not sent | to the provider and model that made it, as it came |
//! | blocks of unknown kinds | to the provider that made them | not sent |
//! | ids of calls | replaced where they do not match `[A-Za-z0-9_-]+` | replaced where they do not match `[A-Za-z0-9_-]{1,64}`, except for their maker |
//!
//! A detour therefore costs nothing: back at the first provider its signed blocks are sent again
//! unchanged. Signed thinking of another model of the same provider is sent, because the provider
//! itself leaves out what the model cannot read, and can use the rest. Blocks from before there
//! were marks count as made by whatever Anthropic Messages provider is asked.

use serde_json::{Map, Value, json};

/// The private field of a block.
pub(crate) const MARK: &str = "ostler";

/// A dialect, a provider as configured, and a model as asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) dialect: &'static str,
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
}

/// How near the maker of a block is to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kinship {
    /// Another dialect or provider.
    Foreign,
    /// Another model of the same provider.
    SameProvider,
    /// The same model of the same provider.
    Same,
}

impl Origin<'_> {
    /// The mark of a block that this made.
    pub(crate) fn mark(&self) -> Map<String, Value> {
        let mut mark = Map::new();
        mark.insert("dialect".to_owned(), Value::from(self.dialect));
        mark.insert("provider".to_owned(), Value::from(self.provider));
        mark.insert("model".to_owned(), Value::from(self.model));
        mark
    }

    /// How near the maker of this block is; `None` for a block without a mark.
    pub(crate) fn kinship(&self, block: &Value) -> Option<Kinship> {
        let mark = block.get(MARK)?;
        let same_provider = mark["dialect"] == self.dialect && mark["provider"] == self.provider;
        Some(match (same_provider, mark["model"] == self.model) {
            (true, true) => Kinship::Same,
            (true, false) => Kinship::SameProvider,
            (false, _) => Kinship::Foreign,
        })
    }

    /// Puts the mark on a block that this made.
    pub(crate) fn put_on(&self, block: &mut Value) {
        if let Value::Object(fields) = block {
            fields.insert(MARK.to_owned(), json!(self.mark()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinship_is_read_from_the_mark() {
        let maker = Origin { dialect: "d", provider: "p", model: "m" };
        let mut block = json!({"type": "thinking"});
        assert_eq!(maker.kinship(&block), None);
        maker.put_on(&mut block);
        assert_eq!(maker.kinship(&block), Some(Kinship::Same));
        assert_eq!(Origin { model: "n", ..maker }.kinship(&block), Some(Kinship::SameProvider));
        assert_eq!(Origin { provider: "q", ..maker }.kinship(&block), Some(Kinship::Foreign));
        assert_eq!(Origin { dialect: "e", ..maker }.kinship(&block), Some(Kinship::Foreign));
        assert_eq!(maker.kinship(&json!({"ostler": 7})), Some(Kinship::Foreign));
    }
}
