//! Points in time as values. Nothing here reads a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch; RFC 3339 with `Z` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Parses RFC 3339, with `Z` or a numeric offset, fraction optional.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.trim().parse().ok()?;
        Some(Self(parsed.as_microsecond()))
    }

    /// Milliseconds since the Unix epoch, never negative.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// This point in time, `micros` later.
    pub fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to here, never negative.
    pub fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000000Z"),
        }
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
    }
}

impl utoipa::ToSchema for Timestamp {
    fn name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 timestamp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_rfc3339_in_utc_and_round_trips() {
        let at = Timestamp(1_767_323_045_678_901);
        let text = serde_json::to_string(&at).unwrap();
        assert_eq!(text, "\"2026-01-02T03:04:05.678901Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), at);
    }

    #[test]
    fn offsets_are_understood() {
        let utc = Timestamp::parse("2026-01-02T03:04:05.678000+00:00").unwrap();
        let oslo = Timestamp::parse("2026-01-02T04:04:05.678+01:00").unwrap();
        assert_eq!(utc, oslo);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
