//! Text from models, tools and servers made harmless for a terminal: it can neither move the
//! cursor, nor change colours or titles, nor turn the reading direction around.

/// The same JSON on one line, with what could steer a terminal written as escapes; its meaning stays. Of
/// text that is no JSON nothing is left that could steer a terminal either.
pub(crate) fn neutral_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_control() && c != '\u{7f}' {
            // Between tokens, where it means no more than a space.
            out.push(' ');
        } else if steers(c) {
            // Such characters only stand inside of strings.
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character beyond ASCII can move the cursor or turn the reading direction around.
fn steers(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The same text with control, escape and bidirectional characters made visible. Line feeds and
/// tabs stay.
pub(crate) fn neutral(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {}
            '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\u{7f}' => out.push('\u{2421}'),
            c if steers(c) => {
                out.push_str(&format!("<U+{:04X}>", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// One line of at most `limit` characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let line = neutral(&text.replace(['\n', '\t'], " "));
    if line.chars().count() <= limit {
        return line;
    }
    line.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_steers_it() {
        let evil = "a\u{1b}[2J\u{1b}]0;title\u{7}b\rc\u{9b}31m\u{202e}txt\u{0}";
        let safe = neutral(evil);
        assert!(safe.chars().all(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}')), "{safe:?}");
        assert_eq!(safe, "a␛[2J␛]0;title␇bc<U+009B>31m<U+202E>txt␀");
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_its_power() {
        let value = serde_json::json!({"text": "a\u{9b}31m\u{202e}x\u{e0001}é漢\u{1b}"});
        let safe = neutral_json(&value.to_string());
        assert!(!safe.chars().any(|c| steers(c) || c.is_control()), "{safe:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn what_is_no_json_steers_nothing_either() {
        assert_eq!(neutral_json("\u{1b}]0;x\u{7}\u{1b}[2J\r\n{\t}"), " ]0;x  [2J  { }");
    }

    #[test]
    fn ordinary_text_stays() {
        assert_eq!(neutral("zwei\tZeilen\nmit Ümläuten und 漢字"), "zwei\tZeilen\nmit Ümläuten und 漢字");
        assert_eq!(one_line("a\nb", 10), "a b");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}
