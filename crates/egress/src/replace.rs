//! Replaces byte strings in a stream whose pieces may cut them anywhere, in time that follows the text alone, however many strings
//! there are and whatever they have in common: who chooses both is hostile. Aho and Corasick, 1975.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, MatchKind};
use bytes::{Bytes, BytesMut};
use zeroize::Zeroize as _;

use crate::limits;

/// What is replaced by what. None of the strings is empty.
pub(crate) struct Table {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Finds the longest of those that begin first.
    finder: OnceLock<AhoCorasick>,
    beginnings: OnceLock<Beginnings>,
    /// Finds those that fit into the name of a header.
    in_names: OnceLock<AhoCorasick>,
}

impl Default for Table {
    fn default() -> Self {
        Self::new([])
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} strings)", self.pairs.len())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for (from, to) in &mut self.pairs {
            from.zeroize();
            to.zeroize();
        }
    }
}

impl Table {
    pub(crate) fn new(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(from, _)| !from.is_empty()).collect();
        pairs.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        pairs.dedup_by(|(a, _), (b, _)| a == b);
        Self { pairs, finder: OnceLock::new(), beginnings: OnceLock::new(), in_names: OnceLock::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    #[expect(clippy::expect_used, reason = "an automaton has more states than numbers only beyond what secrets may have in all")]
    fn finder(&self) -> &AhoCorasick {
        self.finder.get_or_init(|| {
            let mut builder = AhoCorasick::builder();
            builder.kind(Some(AhoCorasickKind::ContiguousNFA)).match_kind(MatchKind::LeftmostLongest);
            builder.build(self.pairs.iter().map(|(from, _)| from)).expect("few states")
        })
    }

    fn beginnings(&self) -> &Beginnings {
        self.beginnings.get_or_init(|| Beginnings::of(&self.pairs))
    }

    /// A whole text with everything replaced; none where nothing is. What would be longer than `most` is not made.
    pub(crate) fn within(&self, bytes: &[u8], most: usize) -> Result<Option<Vec<u8>>, TooLong> {
        if self.is_empty() {
            return if bytes.len() > most { Err(TooLong) } else { Ok(None) };
        }
        let mut length = bytes.len();
        for found in self.finder().find_iter(bytes) {
            length = length - found.len() + self.pairs[found.pattern()].1.len();
        }
        if length > most { Err(TooLong) } else { Ok(self.whole(bytes)) }
    }

    /// The same for what replacements only make shorter, or a little longer.
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let (mut out, mut from) = (Vec::new(), 0);
        for found in self.finder().find_iter(bytes) {
            out.extend_from_slice(&bytes[from..found.start()]);
            out.extend_from_slice(&self.pairs[found.pattern()].1);
            from = found.end();
        }
        if from == 0 {
            return None;
        }
        out.extend_from_slice(&bytes[from..]);
        Some(out)
    }

    /// Whether one of the strings may be in the name of a header, which has no upper case.
    #[expect(clippy::expect_used, reason = "as above")]
    pub(crate) fn is_in_name(&self, name: &str) -> bool {
        if self.is_empty() || name.len() > limits::NAME_SCRUBBED {
            return !self.is_empty();
        }
        let in_names = self.in_names.get_or_init(|| {
            let short = self.pairs.iter().map(|(from, _)| from).filter(|from| from.len() <= limits::NAME_SCRUBBED);
            let mut builder = AhoCorasick::builder();
            builder.kind(Some(AhoCorasickKind::ContiguousNFA)).ascii_case_insensitive(true).build(short).expect("few states")
        });
        in_names.is_match(name)
    }
}

/// Knows how much of the end of a text may be the beginning of a string.
#[derive(Debug)]
struct Beginnings {
    automaton: NFA,
    start: StateID,
    /// In each state but that of the start: the bytes that may go on to be a whole string.
    pending: HashMap<StateID, usize>,
}

impl Beginnings {
    /// The strings are in the order of their length.
    #[expect(clippy::expect_used, reason = "as above")]
    fn of(pairs: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let automaton = NFA::builder().prefilter(false).build(pairs.iter().map(|(from, _)| from)).expect("few states");
        let start = automaton.start_state(Anchored::No).expect("it has a state to start in");
        let step = |state, byte: &u8| automaton.next_state(Anchored::No, state, *byte);
        let mut pending = HashMap::new();
        for (from, _) in pairs {
            let mut state = start;
            for (read, byte) in from[..from.len() - 1].iter().enumerate() {
                state = step(state, byte);
                pending.insert(state, read + 1);
            }
        }
        for (from, _) in pairs {
            let whole = from.iter().fold(start, step);
            if !pending.contains_key(&whole) {
                // What is whole goes on with what else ends here; that is shorter, and known.
                let rest = from[1..].iter().fold(start, step);
                let of_rest = pending.get(&rest).copied().unwrap_or(0);
                pending.insert(whole, of_rest);
            }
        }
        Self { automaton, start, pending }
    }

    fn after(&self, state: StateID, bytes: &[u8]) -> StateID {
        bytes.iter().fold(state, |state, byte| self.automaton.next_state(Anchored::No, state, *byte))
    }

    fn pending(&self, state: StateID) -> usize {
        self.pending.get(&state).copied().unwrap_or(0)
    }
}

/// A text that would become too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// A stream that is replaced as it passes.
pub(crate) struct Stream {
    table: Arc<Table>,
    /// The end of what came, while it may be the beginning of a string.
    held: BytesMut,
    /// Where the search for beginnings is.
    state: Option<StateID>,
    /// Whether asterisks are put in the place of a string, as many as it has bytes, for what must keep its length.
    is_filling: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} bytes held)", self.held.len())
    }
}

impl Stream {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self { table, held: BytesMut::new(), state: None, is_filling: false }
    }

    /// The same, without a change of its length.
    pub(crate) fn filling(table: Arc<Table>) -> Self {
        Self { is_filling: true, ..Self::new(table) }
    }

    fn put(&self, out: &mut BytesMut, found: aho_corasick::Match) {
        if self.is_filling {
            out.resize(out.len() + found.len(), b'*');
        } else {
            out.extend_from_slice(&self.table.pairs[found.pattern()].1);
        }
    }

    /// What can go on of what has come.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Bytes {
        if self.table.is_empty() {
            return Bytes::copy_from_slice(piece);
        }
        let beginnings = self.table.beginnings();
        let mut state = beginnings.after(self.state.unwrap_or(beginnings.start), piece);
        self.held.extend_from_slice(piece);
        let bytes = &self.held[..];
        // From here on it may go on to be another string than what is found now.
        let mut open = bytes.len() - beginnings.pending(state);
        let (mut out, mut from) = (BytesMut::with_capacity(open), 0);
        for found in self.table.finder().find_iter(bytes) {
            if found.start() >= open {
                break;
            }
            out.extend_from_slice(&bytes[from..found.start()]);
            self.put(&mut out, found);
            from = found.end();
            if open < from {
                // What was a beginning has become part of this.
                state = beginnings.after(beginnings.start, &bytes[from..]);
                open = bytes.len() - beginnings.pending(state);
            }
        }
        out.extend_from_slice(&bytes[from..open]);
        let _ = self.held.split_to(open);
        self.state = Some(state);
        out.freeze()
    }

    /// How many bytes are held.
    pub(crate) fn holds(&self) -> usize {
        self.held.len()
    }

    /// What is held, as it is: nothing more comes, or not soon.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held = self.held.split();
        self.state = None;
        let (mut out, mut from) = (BytesMut::with_capacity(held.len()), 0);
        if !self.table.is_empty() {
            for found in self.table.finder().find_iter(&held) {
                out.extend_from_slice(&held[from..found.start()]);
                self.put(&mut out, found);
                from = found.end();
            }
        }
        out.extend_from_slice(&held[from..]);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Table {
        Table::new(pairs.iter().map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec())))
    }

    fn streamed(table: &Arc<Table>, pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = Stream::new(Arc::clone(table));
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&stream.push(piece));
        }
        out.extend_from_slice(&stream.finish());
        out
    }

    #[test]
    fn strings_are_replaced_wherever_they_are_cut() {
        let table = Arc::new(table(&[("secret", "S"), ("secretive", "T"), ("etc", "E")]));
        let text = b"a secret, secretive secre etc secretetc se";
        let expected = b"a S, T secre E SE se";
        assert_eq!(table.whole(text).unwrap(), expected);
        for first in 0..text.len() {
            for second in first..text.len() {
                assert_eq!(streamed(&table, &[&text[..first], &text[first..second], &text[second..]]), expected, "{first} {second}");
            }
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(streamed(&table, &bytes), expected);
    }

    #[test]
    fn what_would_become_too_long_is_not_made() {
        let table = table(&[("p", "secret")]);
        assert_eq!(table.within(b"a p", 8), Ok(Some(b"a secret".to_vec())));
        assert_eq!(table.within(b"a p", 7), Err(TooLong));
        assert_eq!(table.within(b"abc", 3), Ok(None));
        assert_eq!(Table::default().whole(b"abc"), None);
    }

    #[test]
    fn strings_with_much_in_common_cost_no_more_than_the_text() {
        let strings: Vec<String> = (0..64).map(|number| "a".repeat(4_000) + &number.to_string()).collect();
        let pairs: Vec<(&str, &str)> = strings.iter().map(|from| (from.as_str(), "x")).collect();
        let mut stream = Stream::new(Arc::new(table(&pairs)));
        let (piece, mut out) = ("a".repeat(8_192), 0);
        for _ in 0..512 {
            out += stream.push(piece.as_bytes()).len();
        }
        assert_eq!((out + stream.holds(), stream.holds()), (512 * 8_192, 4_000));
        assert_eq!(&stream.push(b"63!")[..], b"x!");
    }

    #[test]
    fn long_names_of_headers_are_not_trusted() {
        let table = table(&[("secret", "x")]);
        assert!(table.is_in_name("x-SECRET") && !table.is_in_name("x-secre") && table.is_in_name(&"a".repeat(1_000)));
        assert!(!Table::default().is_in_name(&"a".repeat(1_000)));
    }

    #[test]
    fn what_cannot_be_a_string_is_not_held() {
        let mut stream = Stream::new(Arc::new(table(&[("data: secret", "x")])));
        assert_eq!(&stream.push(b"data: hello\n\n")[..], b"data: hello\n\n");
        assert_eq!(&stream.push(b"dat")[..], b"");
        assert_eq!(&stream.push(b"e")[..], b"date");
    }

    #[test]
    fn a_fill_keeps_the_length() {
        let mut stream = Stream::filling(Arc::new(table(&[("secret", "")])));
        assert_eq!(&stream.push(b"1secret2sec")[..], b"1******2");
        assert_eq!((&stream.finish()[..], stream.holds()), (&b"sec"[..], 0));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "[abc]{0,60}",
            cuts in proptest::collection::vec(0_usize..60, 0..6),
            strings in proptest::collection::vec("[abc]{1,6}", 1..5),
        ) {
            let pairs: Vec<(&str, &str)> = strings.iter().map(String::as_str).zip(["-", "+", "*", "/"]).collect();
            let table = Arc::new(table(&pairs));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let expected = table.whole(text.as_bytes()).unwrap_or_else(|| text.clone().into_bytes());
            prop_assert_eq!(streamed(&table, &pieces), expected);
        }
    }
}
