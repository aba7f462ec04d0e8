//! Replaces byte strings in a stream whose pieces may cut them anywhere.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zeroize::Zeroize as _;

/// What is replaced by what. None of the strings is empty.
pub(crate) struct Table {
    /// By their first byte; of those that share it the longest first, so that the longest of those that fit at a place is taken.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    longest: usize,
    /// Where those that begin with a byte are, by that byte.
    starts: Box<[Range<usize>]>,
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
        pairs.sort_by(|(a, _), (b, _)| a[0].cmp(&b[0]).then_with(|| b.len().cmp(&a.len())).then_with(|| a.cmp(b)));
        pairs.dedup_by(|(a, _), (b, _)| a == b);
        let place = |byte: u8| pairs.partition_point(|(from, _)| from[0] < byte)..pairs.partition_point(|(from, _)| from[0] <= byte);
        let starts = (0..=u8::MAX).map(place).collect();
        Self { longest: pairs.iter().map(|(from, _)| from.len()).max().unwrap_or(0), starts, pairs }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The strings that begin with a byte.
    fn of(&self, first: u8) -> &[(Vec<u8>, Vec<u8>)] {
        &self.pairs[self.starts[usize::from(first)].clone()]
    }

    /// What stands at the beginning of these bytes, if it is whole.
    fn at(&self, bytes: &[u8]) -> Option<&(Vec<u8>, Vec<u8>)> {
        self.of(*bytes.first()?).iter().find(|(from, _)| bytes.starts_with(from))
    }

    /// Whether these bytes, to their end, may be the beginning of a string.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        let Some(first) = bytes.first() else { return false };
        bytes.len() < self.longest && self.of(*first).iter().any(|(from, _)| from.len() > bytes.len() && from.starts_with(bytes))
    }

    /// A whole text with everything replaced; none where nothing is. What would be longer than `most` is not made.
    pub(crate) fn within(&self, bytes: &[u8], most: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let mut rest = bytes;
        let mut length = bytes.len();
        while !rest.is_empty() {
            match self.at(rest) {
                Some((from, to)) => {
                    length = length - from.len() + to.len();
                    rest = &rest[from.len()..];
                }
                None => rest = &rest[1..],
            }
        }
        if length > most { Err(TooLong) } else { Ok(self.whole(bytes)) }
    }

    /// The same for what replacements only make shorter, or a little longer.
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut found = false;
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            match self.at(rest) {
                Some((from, to)) => {
                    found = true;
                    out.extend_from_slice(to);
                    rest = &rest[from.len()..];
                }
                None => {
                    out.push(*first);
                    rest = &rest[1..];
                }
            }
        }
        found.then_some(out)
    }

    /// Whether one of the strings is in the name of a header, which has no upper case.
    pub(crate) fn is_in_name(&self, name: &str) -> bool {
        let is_in =
            |from: &[u8]| from.len() <= name.len() && name.as_bytes().windows(from.len()).any(|part| part.eq_ignore_ascii_case(from));
        self.pairs.iter().any(|(from, _)| is_in(from))
    }

    /// The same strings, each replaced by as many asterisks as it has bytes: for what must keep its length.
    pub(crate) fn filling(&self) -> Self {
        Self::new(self.pairs.iter().map(|(from, _)| (from.clone(), vec![b'*'; from.len()])))
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
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} bytes held)", self.held.len())
    }
}

impl Stream {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self { table, held: BytesMut::new() }
    }

    /// What can go on of what has come.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Bytes {
        self.held.extend_from_slice(piece);
        let bytes = &self.held[..];
        let mut out = BytesMut::with_capacity(bytes.len());
        let (mut at, mut from) = (0, 0);
        // Only this close to the end can a string be cut off.
        let safe = bytes.len().saturating_sub(self.table.longest.saturating_sub(1));
        while at < bytes.len() {
            if self.table.of(bytes[at]).is_empty() {
                at += 1;
            } else if at >= safe && self.table.may_begin(&bytes[at..]) {
                break;
            } else if let Some((string, to)) = self.table.at(&bytes[at..]) {
                out.extend_from_slice(&bytes[from..at]);
                out.extend_from_slice(to);
                at += string.len();
                from = at;
            } else {
                at += 1;
            }
        }
        out.extend_from_slice(&bytes[from..at]);
        let _ = self.held.split_to(at);
        out.freeze()
    }

    /// Whether something is held.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is held, as it is: nothing more comes, or not soon.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held = self.held.split();
        Bytes::from(self.table.whole(&held).unwrap_or_else(|| held.to_vec()))
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
    fn what_cannot_be_a_string_is_not_held() {
        let mut stream = Stream::new(Arc::new(table(&[("data: secret", "x")])));
        assert_eq!(&stream.push(b"data: hello\n\n")[..], b"data: hello\n\n");
        assert_eq!(&stream.push(b"dat")[..], b"");
        assert_eq!(&stream.push(b"e")[..], b"date");
    }

    #[test]
    fn a_fill_keeps_the_length() {
        assert_eq!(table(&[("secret", "")]).filling().whole(b"1secret2").unwrap(), b"1******2");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6), from in "[ab]{1,6}", also in "[ab]{1,4}") {
            let table = Arc::new(table(&[(&from, "-"), (&also, "+")]));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let expected = table.whole(text.as_bytes()).unwrap_or_else(|| text.clone().into_bytes());
            prop_assert_eq!(streamed(&table, &pieces), expected);
        }
    }
}
