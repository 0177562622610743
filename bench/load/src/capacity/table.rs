//! Figures as people read them.

use serde_json::Value;

/// A table of Markdown.
#[derive(Clone, Debug)]
pub(super) struct Table {
    title: &'static str,
    /// What its figures are.
    unit: &'static str,
    columns: Vec<&'static str>,
    /// Each as wide as the columns.
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// `columns`: their names, separated by ` | `.
    pub(super) fn new(title: &'static str, unit: &'static str, columns: &'static str) -> Self {
        Self { title, unit, columns: columns.split(" | ").collect(), rows: Vec::new() }
    }

    pub(super) fn markdown(&self) -> String {
        let rule = vec!["---"; self.columns.len()].join(" | ");
        let rows: String = self.rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
        let head = self.columns.join(" | ");
        format!("### {}\n\n{}.\n\n| {head} |\n| {rule} |\n{rows}", self.title, self.unit)
    }
}

/// What the tables say of a run or a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// CPU time per packet.
    pub(super) us: f64,
    packets_per_second: f64,
    /// In milliseconds: p50, p99, p99.9.
    latency: [f64; 3],
    /// Of the server for each subscriber, if there were enough of them.
    memory_bytes: Option<f64>,
    /// Packets that came twice, in the wrong place or damaged.
    faults: f64,
    lost: f64,
    /// The generator was late.
    spoiled: bool,
}

impl Figures {
    /// Of a whole run, or of one window.
    pub(super) fn of(run: &Value) -> Self {
        let figures = Self::of_summary(&run["summary"]);
        Self { memory_bytes: run["memory"]["per_subscriber_bytes"].as_f64(), ..figures }
    }

    /// Of several windows.
    pub(super) fn of_summary(summary: &Value) -> Self {
        let of = |name: &str| number(&summary[name]);
        let latency = ["latency_p50_ns", "latency_p99_ns", "latency_p999_ns"];
        Self {
            us: of("cpu_ns_per_packet_median") / 1e3,
            packets_per_second: of("packets_per_second_median"),
            latency: latency.map(|name| of(name) / 1e6),
            memory_bytes: None,
            faults: ["duplicates", "foreign", "corrupt"].into_iter().map(of).sum(),
            lost: of("lost"),
            spoiled: of("spoiled_windows") > 0.0,
        }
    }

    /// With whatever was not as it should be.
    pub(super) fn us(&self) -> String {
        let mut text = format!("{:.2}", self.us);
        for (name, count) in [("lost", self.lost), ("faults", self.faults)] {
            if count > 0.0 {
                text += &format!(", {name} {}", thousands(count));
            }
        }
        text
    }

    pub(super) fn rate(&self) -> String {
        thousands(self.packets_per_second)
    }

    pub(super) fn latency(&self) -> String {
        self.quantiles(2)
    }

    pub(super) fn latency_with_tail(&self) -> String {
        self.quantiles(3)
    }

    fn quantiles(&self, count: usize) -> String {
        let ms: Vec<String> = self.latency[..count].iter().map(|ms| format!("{ms:.2}")).collect();
        format!("{}{}", ms.join(" / "), if self.spoiled { " *" } else { "" })
    }

    pub(super) fn memory(&self) -> String {
        cell(self.memory_bytes.as_ref(), |bytes| format!("{:.0}", bytes / 1e3))
    }
}

/// A number of a report; 0 if it has none there.
pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// A cell of what is known, or a dash.
pub(super) fn cell<T>(value: Option<&T>, words: impl Fn(&T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), words)
}

/// A whole number with its thousands apart.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let from_behind: Vec<&str> =
        digits.as_bytes().rchunks(3).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    from_behind.into_iter().rev().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thousands_stand_apart() {
        for (value, want) in
            [(0.4, "0"), (999.0, "999"), (1000.0, "1,000"), (714_612.4, "714,612"), (-3.0, "0")]
        {
            assert_eq!(thousands(value), want);
        }
    }

    #[test]
    fn what_went_wrong_stands_beside_the_figure() {
        let summary = json!({
            "cpu_ns_per_packet_median": 2345.6, "packets_per_second_median": 7500.2, "latency_p50_ns": 123_000,
            "latency_p99_ns": 1_500_000, "lost": 1200, "foreign": 1, "corrupt": 2, "spoiled_windows": 1,
        });
        let figures = Figures::of(&json!({"summary": summary, "memory": {"per_subscriber_bytes": 31_400.0}}));
        assert_eq!(figures.us(), "2.35, lost 1,200, faults 3");
        assert_eq!((figures.rate(), figures.latency()), ("7,500".to_owned(), "0.12 / 1.50 *".to_owned()));
        assert_eq!(
            (figures.memory(), figures.latency_with_tail()),
            ("31".into(), "0.12 / 1.50 / 0.00 *".into())
        );
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("Title", "µs", "a | b");
        table.rows.push(vec!["x".to_owned(), cell(None::<&f64>, |_| String::new())]);
        assert_eq!(table.markdown(), "### Title\n\nµs.\n\n| a | b |\n| --- | --- |\n| x | – |\n");
    }
}
