//! Token counts as servers of Chat Completions write them.

use ostler_core::model::TokenUsage;
use serde_json::Value;

/// The counts of a `usage` object. Prompt tokens include what a cache held; what is said to be read
/// from or written to one is taken out of them.
pub(super) fn counts(usage: &Value) -> TokenUsage {
    let first = |values: &[&Value]| values.iter().find_map(|value| value.as_u64()).unwrap_or(0);
    let details = &usage["prompt_tokens_details"];
    let read =
        first(&[&details["cached_tokens"], &usage["cache_read_input_tokens"], &usage["prompt_cache_hit_tokens"], &usage["cached_tokens"]]);
    let written = first(&[&details["cache_write_tokens"], &details["cache_creation_tokens"], &usage["cache_creation_input_tokens"]]);
    let (prompt, completion) = (first(&[&usage["prompt_tokens"]]), first(&[&usage["completion_tokens"]]));
    let reasoning = first(&[&usage["completion_tokens_details"]["reasoning_tokens"]]);
    // Some servers count reasoning beside the completion; then only the total includes it.
    let is_beside =
        reasoning > 0 && usage["total_tokens"].as_u64() == prompt.checked_add(completion).and_then(|sum| sum.checked_add(reasoning));
    TokenUsage {
        input_tokens: prompt.saturating_sub(read).saturating_sub(written),
        output_tokens: if is_beside { completion.saturating_add(reasoning) } else { completion },
        cache_read_input_tokens: read,
        cache_creation_input_tokens: written,
        cache_creation_1h_input_tokens: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_of_different_servers() {
        let plain = |input, output, read, written| TokenUsage {
            input_tokens: input,
            output_tokens: output,
            cache_read_input_tokens: read,
            cache_creation_input_tokens: written,
            cache_creation_1h_input_tokens: 0,
        };
        let table = [
            (json!({"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}), plain(100, 7, 0, 0)),
            (json!({"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 64}}), plain(36, 7, 64, 0)),
            (json!({"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": null}), plain(100, 7, 0, 0)),
            (
                json!({"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 20}}),
                plain(70, 7, 10, 20),
            ),
            (
                json!({"prompt_tokens": 100, "completion_tokens": 7, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 20}),
                plain(70, 7, 10, 20),
            ),
            (
                json!({"prompt_tokens": 100, "completion_tokens": 7, "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}),
                plain(40, 7, 60, 0),
            ),
            (json!({"prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 60}), plain(40, 7, 60, 0)),
            (
                json!({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}}),
                plain(32, 103, 0, 0),
            ),
            (
                json!({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}}),
                plain(32, 103, 0, 0),
            ),
            (json!({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}), plain(0, 1, 9, 0)),
            (
                json!({"prompt_tokens": -1, "completion_tokens": "x", "total_tokens": u64::MAX, "completion_tokens_details": {"reasoning_tokens": u64::MAX}}),
                plain(0, u64::MAX, 0, 0),
            ),
            (json!({}), plain(0, 0, 0, 0)),
        ];
        for (usage, expected) in table {
            assert_eq!(counts(&usage), expected, "{usage}");
        }
    }
}
