//! What the model says, by a word in the user's last message. The body is searched, not parsed, so
//! that the model stays much quicker than what is measured.

use std::time::Duration;

use serde_json::{Value, json};

use crate::limits;

/// One thing that an answer does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// Sends these bytes.
    Send(String),
    /// Sends a piece of text that says when it left.
    Stamped,
    /// Waits.
    Pause(Duration),
    /// Waits until all that wait are let go.
    Hold,
}

/// What `bash` is asked to do.
const COMMAND: &str = "echo done";
/// Precedes the word that chooses the script.
const MARK: &[u8] = b"bench:";
const RESULT: &[u8] = b"\"tool_result\"";

/// The answer to a request with this body.
pub(super) fn answer(body: &[u8]) -> Vec<Part> {
    let at = rfind(body, MARK).map_or(body.len(), |at| at + MARK.len());
    let rest = body.get(at..).unwrap_or_default();
    let word: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_lowercase).collect();
    match word.as_slice() {
        b"tools" => {
            let done = rest.windows(RESULT.len()).filter(|part| *part == RESULT).count();
            if done < limits::CALLS_OF_A_TURN { call(at + done) } else { text(&[Part::Stamped]) }
        }
        b"paced" => text(&[Part::Pause(limits::MODEL_PAUSE), Part::Stamped, Part::Pause(limits::MODEL_PAUSE), Part::Stamped]),
        b"hold" => text(&[Part::Stamped, Part::Hold]),
        _ => text(&vec![Part::Stamped; limits::PIECES]),
    }
}

fn rfind(body: &[u8], wanted: &[u8]) -> Option<usize> {
    // The last message is at the end, so little is looked at.
    body.windows(wanted.len()).rposition(|part| part == wanted)
}

/// An answer of one text block.
fn text(pieces: &[Part]) -> Vec<Part> {
    let mut parts = vec![start(&json!({"type": "text", "text": ""}))];
    parts.extend_from_slice(pieces);
    parts.push(end("end_turn"));
    parts
}

/// An answer of one call. Its id must be new in the conversation, which grows with each call.
fn call(place: usize) -> Vec<Part> {
    let input = json!({"command": COMMAND}).to_string();
    let block = json!({"type": "tool_use", "id": format!("toolu_{place}"), "name": "bash", "input": {}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": input}});
    vec![start(&block), Part::Send(frame(&delta)), end("tool_use")]
}

fn start(block: &Value) -> Part {
    let usage = json!({"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0});
    let message = json!({"id": "msg_bench", "type": "message", "role": "assistant", "model": "scripted-model", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage});
    let first = frame(&json!({"type": "message_start", "message": message}));
    Part::Send(first + &frame(&json!({"type": "content_block_start", "index": 0, "content_block": block})))
}

/// A piece of text that says when it left, in nanoseconds.
pub(super) fn stamped(now: u64) -> String {
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"t{now};\"}}}}\n\n"
    )
}

fn end(reason: &str) -> Part {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    let frames = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ];
    Part::Send(frames.iter().map(frame).collect())
}

fn frame(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(body: &str) -> usize {
        answer(body.as_bytes()).iter().filter(|part| matches!(part, Part::Send(text) if text.contains("tool_use\",\"name"))).count()
    }

    #[test]
    fn the_last_word_chooses_and_results_behind_it_count() {
        let result = r#"{"type":"tool_result"}"#;
        assert_eq!(answer(b"bench:say"), answer(b"nothing"));
        assert_eq!(answer(b"bench:tools bench:say"), answer(b"bench:say"));
        let done = format!("{result}bench:tools{}", result.repeat(limits::CALLS_OF_A_TURN - 1));
        let is_call = |body: &str| answer(body.as_bytes()).iter().any(|part| matches!(part, Part::Send(text) if text.contains("toolu_")));
        assert!(is_call(&done), "results before the word do not count");
        assert!(!is_call(&(done.clone() + result)));
        assert_eq!(calls("bench:hold"), 0);
        assert!(answer(b"bench:hold").contains(&Part::Hold));
    }

    #[test]
    fn a_stamped_piece_is_an_event_with_its_time() {
        let text = stamped(17);
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap()["delta"]["text"], "t17;");
    }
}
