//! What differs between servers of Chat Completions: settings known beforehand, and optional fields
//! that a server turned out to refuse.

use serde_json::Value;

use crate::exchange::Refusal;

/// The field that limits an answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitField {
    /// `max_tokens`: known by nearly every server.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: what OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

impl LimitField {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

/// What is known of a server before it is asked. The default suits servers other than OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenAiOptions {
    /// Tried first; the other one follows if it is refused by name.
    pub limit_field: LimitField,
    /// Whether PDFs are sent as `file` parts; otherwise a note says that one was left out.
    pub takes_files: bool,
}

impl OpenAiOptions {
    /// The options that fit the server at this URL: `max_completion_tokens` and file parts for
    /// `api.openai.com`, file parts for `openrouter.ai`.
    pub fn for_base_url(base_url: &str) -> Self {
        let host = reqwest::Url::parse(base_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        match host.as_deref() {
            Some("api.openai.com") => Self { limit_field: LimitField::MaxCompletionTokens, takes_files: true },
            Some("openrouter.ai") => Self { takes_files: true, ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// The words of `reasoning_effort` that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum EffortWords {
    /// `xhigh` too.
    #[default]
    All,
    /// Up to `high`.
    ToHigh,
    /// The field is not known.
    None,
}

/// The optional fields of a request that was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Optional {
    pub(super) limit: LimitField,
    pub(super) effort: Option<&'static str>,
    pub(super) has_counts: bool,
    pub(super) has_reasoning: bool,
}

/// What a model of a server refused so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Adaptation {
    pub(super) other_limit: bool,
    pub(super) without_counts: bool,
    pub(super) without_reasoning: bool,
    pub(super) effort: EffortWords,
}

/// Words of refusals that are about a field's presence or its value's kind, not its size.
const REFUSING: [&str; 11] = [
    "unsupported",
    "not support",
    "unrecognized",
    "unknown",
    "unexpected",
    "not permitted",
    "not allowed",
    "extra_forbidden",
    "extra inputs",
    "extra fields",
    "additional properties",
];

impl Adaptation {
    /// The limit's field, given the one that is tried first.
    pub(super) fn limit(self, first: LimitField) -> LimitField {
        if self.other_limit { first.other() } else { first }
    }

    /// Takes one refused field away; false where the refusal names none of those that were sent.
    pub(super) fn learn(&mut self, refusal: &Refusal, sent: &Optional) -> bool {
        if !matches!(refusal.status, 400 | 422) {
            return false;
        }
        let text = String::from_utf8_lossy(&refusal.body).to_ascii_lowercase();
        if !REFUSING.iter().any(|words| text.contains(words)) {
            return false;
        }
        let body: Value = serde_json::from_slice(&refusal.body).unwrap_or_default();
        // `param` says precisely which; a text may name other fields as well.
        body["error"]["param"].as_str().is_some_and(|param| self.take_away(param, sent)) || self.take_away(&text, sent)
    }

    fn take_away(&mut self, told: &str, sent: &Optional) -> bool {
        let named = |fields: &[&str]| fields.iter().any(|field| has_word(told, field));
        if let Some(word) = sent.effort
            && named(&["reasoning_effort"])
        {
            self.effort = if word == "xhigh" { EffortWords::ToHigh } else { EffortWords::None };
        } else if sent.has_counts && named(&["stream_options", "include_usage"]) {
            self.without_counts = true;
        } else if !self.other_limit && named(&[sent.limit.name()]) {
            self.other_limit = true;
        } else if sent.has_reasoning && named(&["reasoning_content", "reasoning_details", "reasoning"]) {
            self.without_reasoning = true;
        } else {
            return false;
        }
        true
    }
}

/// Whether the word stands in the text by itself.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn learnt(status: u16, body: &str, sent: &Optional) -> Option<Adaptation> {
        let mut adaptation = Adaptation::default();
        let refusal = Refusal { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() };
        adaptation.learn(&refusal, sent).then_some(adaptation)
    }

    #[test]
    fn the_first_limit_field_follows_from_the_host() {
        let first = |url: &str| OpenAiOptions::for_base_url(url).limit_field.name();
        assert_eq!(first("https://api.openai.com/v1"), "max_completion_tokens");
        for url in ["https://openrouter.ai/api/v1", "http://api.openai.com.evil.example", "http://localhost:11434", "nonsense"] {
            assert_eq!(first(url), "max_tokens", "{url}");
        }
    }

    #[test]
    fn refusals_that_name_an_optional_field_take_it_away() {
        let sent = Optional { limit: LimitField::MaxTokens, effort: Some("xhigh"), has_counts: true, has_reasoning: true };
        let none = Adaptation::default();
        let table = [
            (
                400,
                r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
                Some(Adaptation { other_limit: true, ..none }),
            ),
            (
                400,
                r#"{"error":{"message":"Unsupported value: 'reasoning_effort' does not support 'xhigh' with this model.","param":"reasoning_effort","code":"unsupported_value"}}"#,
                Some(Adaptation { effort: EffortWords::ToHigh, ..none }),
            ),
            (
                422,
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":{"include_usage":true}}]}"#,
                Some(Adaptation { without_counts: true, ..none }),
            ),
            (400, "Unrecognized request argument supplied: stream_options", Some(Adaptation { without_counts: true, ..none })),
            (
                400,
                r#"{"error":{"message":"messages[2]: reasoning_content is not allowed in input messages"}}"#,
                Some(Adaptation { without_reasoning: true, ..none }),
            ),
            (400, r#"{"error":{"message":"max_tokens is too large: 100000. This model supports at most 16384 completion tokens"}}"#, None),
            (400, r#"{"error":{"message":"Missing `reasoning_content` field in the assistant message"}}"#, None),
            (400, r#"{"error":{"message":"Unknown parameter: 'tools[0].strict'.","param":"tools[0].strict"}}"#, None),
            (500, r#"{"error":{"message":"unsupported: stream_options"}}"#, None),
        ];
        for (status, body, expected) in table {
            assert_eq!(learnt(status, body, &sent), expected, "{body}");
        }
    }

    #[test]
    fn fields_that_were_not_sent_are_not_learnt() {
        let sent = Optional { limit: LimitField::MaxCompletionTokens, ..Optional::default() };
        for field in ["reasoning_effort", "stream_options", "max_tokens", "reasoning_content"] {
            assert_eq!(learnt(400, &format!("unknown field {field}"), &sent), None, "{field}");
        }
        let mut adaptation = learnt(400, "unknown field max_completion_tokens", &sent).unwrap();
        assert_eq!(adaptation.limit(LimitField::MaxCompletionTokens), LimitField::MaxTokens);
        let again = Refusal { status: 400, headers: HeaderMap::new(), body: b"unknown field max_completion_tokens".to_vec() };
        assert!(!adaptation.learn(&again, &sent));
    }
}
