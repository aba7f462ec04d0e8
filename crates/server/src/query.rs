//! Query strings as SDKs write them: `x[]=a&x[]=b` or `x=a&x=b`, `created_at[gte]=...`, booleans.
//! Parameters that are not known are ignored.

use axum::extract::FromRequestParts;
use http::request::Parts;
use ostler_core::error::{Refusal, check_count};
use ostler_core::time::Timestamp;
use ostler_store::TimeRange;

use crate::error::ApiError;
use crate::limits;

/// The parameters of a request, decoded, in order.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

impl Params {
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        if query.len() > limits::QUERY_BYTES {
            return Err(Refusal::invalid(format!("the query string is longer than {} KiB", limits::QUERY_BYTES >> 10)));
        }
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().take(limits::QUERY_PARAMETERS + 1).collect();
        check_count("query parameters", pairs.len(), limits::QUERY_PARAMETERS)?;
        Ok(Self(pairs))
    }

    /// The value of a parameter; the last one where it is repeated, none where it is empty.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let last = self.0.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a list.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let is_item = |key: &str| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']'));
        self.0.iter().filter(|(key, _)| is_item(key)).map(|(_, value)| value.as_str()).collect()
    }

    /// A flag; `false` when left out.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.one(name) {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(Refusal::invalid(format!("{name}: must be true or false"))),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.one(name).map(|text| text.parse().map_err(|_| Refusal::invalid(format!("{name}: must be a whole number")))).transpose()
    }

    /// `limit`, within `1..=most`.
    pub(crate) fn limit(&self, usual: usize, most: usize) -> Result<usize, Refusal> {
        let Some(limit) = self.number("limit")? else { return Ok(usual) };
        usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| Refusal::invalid(format!("limit: must be between 1 and {most}")))
    }

    /// `name[gte]`, `name[gt]`, `name[lte]`, `name[lt]`.
    pub(crate) fn span(&self, name: &str) -> Result<TimeRange, Refusal> {
        let bound = |side: &str| self.one(&format!("{name}[{side}]")).map(|text| time(&format!("{name}[{side}]"), text)).transpose();
        Ok(TimeRange { gte: bound("gte")?, gt: bound("gt")?, lte: bound("lte")?, lt: bound("lt")? })
    }
}

fn time(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    // A plus sign that was not encoded arrives as a space.
    let repaired = text.trim().replace(' ', "+");
    Timestamp::parse(&repaired)
        .or_else(|| Timestamp::parse(text))
        .ok_or_else(|| Refusal::invalid(format!("{name}: must be an RFC 3339 timestamp such as 2026-01-02T03:04:05Z")))
}

/// Whether a point in time lies within a span.
pub(crate) fn contains(span: &TimeRange, at: Timestamp) -> bool {
    span.gte.is_none_or(|bound| at >= bound)
        && span.gt.is_none_or(|bound| at > bound)
        && span.lte.is_none_or(|bound| at <= bound)
        && span.lt.is_none_or(|bound| at < bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::parse(query).unwrap()
    }

    #[test]
    fn lists_come_in_several_spellings() {
        for query in [
            "types[]=a&types[]=b",
            "types%5B%5D=a&types%5B%5D=b",
            "types=a&types=b",
            "types[0]=a&types[1]=b",
            "beta=true&types[]=a&typesx=c&types[]=b",
        ] {
            assert_eq!(params(query).all("types"), ["a", "b"], "{query}");
        }
        assert!(params("").all("types").is_empty());
    }

    #[test]
    fn spans_are_nested_and_forgive_a_bare_plus() {
        let at = Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap();
        for text in ["2026-01-02T03:04:05.678000%2B00:00", "2026-01-02T03:04:05.678+00:00", "2026-01-02T03:04:05.678Z"] {
            let span = params(&format!("created_at%5Bgte%5D={text}&created_at[lt]=2026-02-01T00:00:00Z")).span("created_at").unwrap();
            assert_eq!(span.gte, Some(at), "{text}");
            assert!(span.lt.is_some() && span.gt.is_none() && span.lte.is_none());
        }
        assert!(params("created_at[gt]=yesterday").span("created_at").is_err());
    }

    #[test]
    fn limits_flags_and_numbers_are_checked() {
        for (query, expected) in [
            ("", Some(20)),
            ("limit=1", Some(1)),
            ("limit=100", Some(100)),
            ("limit=", Some(20)),
            ("limit=0", None),
            ("limit=101", None),
            ("limit=abc", None),
            ("limit=-1", None),
            ("limit=99999999999999999999", None),
        ] {
            assert_eq!(params(query).limit(20, 100).ok(), expected, "{query}");
        }
        assert!(params("include_archived=true").flag("include_archived").unwrap());
        assert!(!params("").flag("include_archived").unwrap());
        assert!(params("include_archived=maybe").flag("include_archived").is_err());
    }

    #[test]
    fn size_is_bounded() {
        assert!(Params::parse(&"a=b&".repeat(limits::QUERY_PARAMETERS + 2)).is_err());
        assert!(Params::parse(&"a".repeat(limits::QUERY_BYTES + 1)).is_err());
        assert_eq!(params("%ff%fe=%00").0.len(), 1);
    }

    #[test]
    fn bounds_hold_as_named() {
        let at = Timestamp(5);
        let table = [
            (TimeRange { gte: Some(at), ..TimeRange::default() }, true),
            (TimeRange { gt: Some(at), ..TimeRange::default() }, false),
            (TimeRange { lte: Some(at), ..TimeRange::default() }, true),
            (TimeRange { lt: Some(at), ..TimeRange::default() }, false),
        ];
        for (span, expected) in table {
            assert_eq!(contains(&span, at), expected, "{span:?}");
        }
    }
}
