//! What was measured, as a table for people and as JSON.

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;
use serde_json::json;

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// In a second.
    PerSecond,
    /// Megabytes, of 10^6 bytes.
    Megabytes,
    /// How many.
    Count,
    /// One thing divided by another.
    Ratio,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) row: &'static str,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    /// What the machine needs for the bare work, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<f64>,
}

impl Figure {
    pub(crate) fn new(row: &'static str, what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { row, what: what.into(), value, unit, target: None, floor: None }
    }

    pub(crate) fn at_most(self, most: f64) -> Self {
        Self { target: Some(Target::AtMost(most)), ..self }
    }

    pub(crate) fn at_least(self, least: f64) -> Self {
        Self { target: Some(Target::AtLeast(least)), ..self }
    }

    pub(crate) fn above(self, floor: f64) -> Self {
        Self { floor: Some(floor).filter(|floor| floor.is_finite() && *floor > 0.0), ..self }
    }

    /// By how much the target is missed: 1 and less is not at all.
    pub(crate) fn missed_by(&self) -> Option<f64> {
        Some(match self.target? {
            Target::AtMost(most) => self.value / most,
            Target::AtLeast(least) => least / self.value,
        })
    }

    fn verdict(&self) -> String {
        match self.missed_by() {
            None => String::new(),
            Some(by) if by <= 1.0 => "holds".to_owned(),
            Some(by) => format!("misses by {by:.2} x"),
        }
    }

    fn ratio(&self) -> String {
        self.floor.map(|floor| format!("{:.1} x", self.value / floor)).unwrap_or_default()
    }
}

/// A figure with its unit, with as many digits as say something.
fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ms if value < 10.0 => format!("{value:.3} ms"),
        Unit::Ms => format!("{value:.1} ms"),
        Unit::PerSecond => format!("{value:.0} /s"),
        Unit::Megabytes => format!("{value:.1} MB"),
        Unit::Count => format!("{value:.1}"),
        Unit::Ratio => format!("{value:.2} x"),
    }
}

/// Where, when and how it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Circumstances {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) date: String,
}

/// The table with its circumstances.
pub(crate) fn text(figures: &[Figure], circumstances: &Circumstances) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["row", "what", "measured", "target", "verdict", "to the floor"]);
    for figure in figures {
        let target = match figure.target {
            None => String::new(),
            Some(Target::AtMost(most)) => format!("<= {}", shown(most, figure.unit)),
            Some(Target::AtLeast(least)) => format!(">= {}", shown(least, figure.unit)),
        };
        let measured = shown(figure.value, figure.unit);
        table.add_row([figure.row.to_owned(), figure.what.clone(), measured, target, figure.verdict(), figure.ratio()]);
    }
    let Circumstances { machine, commit, command, date } = circumstances;
    format!("machine: {machine}\ncommit:  {commit}\ncommand: {command}\ndate:    {date}\n\n{table}")
}

/// The same for programs.
pub(crate) fn json(figures: &[Figure], circumstances: &Circumstances) -> String {
    format!("{:#}\n", json!({"circumstances": circumstances, "figures": figures}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_how_far_off_a_figure_is() {
        let figure = |value| Figure::new("row", "what", value, Unit::Ms);
        assert_eq!(figure(3.0).at_most(2.0).verdict(), "misses by 1.50 x");
        assert_eq!(figure(2.0).at_most(2.0).verdict(), "holds");
        assert_eq!(figure(100.0).at_least(400.0).verdict(), "misses by 4.00 x");
        assert_eq!((figure(3.0).verdict(), figure(3.0).above(2.0).ratio()), (String::new(), "1.5 x".to_owned()));
        assert_eq!(figure(3.0).above(0.0).ratio(), "", "there is no ratio to nothing");
    }
}
