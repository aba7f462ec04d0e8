//! Ids and names of calls that every provider takes. Models and servers make up both; what one
//! accepts another refuses, and a refused request would end the session.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::limits::{CALL_ID_HASH_BYTES, PORTABLE_ID_CHARS, TOOL_NAME_CHARS};

/// The id as it is where it has at most `longest` of `[A-Za-z0-9_-]`, else one made from it: the
/// same for the call and its result, in every request.
pub(crate) fn call_id(id: &str, longest: usize) -> Cow<'_, str> {
    if (1..=longest).contains(&id.len()) && id.bytes().all(is_plain) {
        return Cow::Borrowed(id);
    }
    let mut made = String::with_capacity(PORTABLE_ID_CHARS);
    made.push_str("call_");
    for byte in Sha256::digest(id.as_bytes()).iter().take(CALL_ID_HASH_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(made, "{byte:02x}");
    }
    Cow::Owned(made)
}

/// The name of a called tool as providers take it back: a model may call a tool that nobody offered.
pub(crate) fn tool_name(name: &str) -> Cow<'_, str> {
    if (1..=TOOL_NAME_CHARS).contains(&name.len()) && name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    if name.is_empty() {
        return Cow::Borrowed("unnamed_tool");
    }
    let plain = |char: char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' };
    Cow::Owned(name.chars().take(TOOL_NAME_CHARS).map(plain).collect())
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_ids_and_names_stay_and_others_are_replaced_the_same_way_each_time() {
        for id in ["toolu_01AbC", "call_x-y", "0", &"x".repeat(64)] {
            assert_eq!(call_id(id, 64), id);
        }
        let long = "x".repeat(65);
        assert_eq!(call_id(&long, usize::MAX), long);
        let made = call_id("functions.bash:0", 64).into_owned();
        assert_eq!(made, "call_8497fe9cce69aff0aa7025efd9339081");
        assert_ne!(made, call_id("functions.bash:1", 64));
        for id in ["", "functions.bash:0", "a b", "é", &long] {
            let made = call_id(id, 64);
            assert!(made.len() <= PORTABLE_ID_CHARS && made.bytes().all(is_plain), "{id}: {made}");
            assert_eq!(call_id(&made, 64), made);
        }
        assert_eq!(tool_name("bash"), "bash");
        assert_eq!(tool_name("functions.bash é"), "functions_bash__");
        assert_eq!(tool_name(""), "unnamed_tool");
        assert_eq!(tool_name(&"n".repeat(99)).len(), TOOL_NAME_CHARS);
    }
}
