//! Figures as people read them.

use serde_json::Value;

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

/// CPU time per packet of a run or a window in µs, with whatever was not as it should be.
pub(super) fn us(run: &Value) -> String {
    let of = |name: &str| number(&run["summary"][name]);
    let faults: f64 = ["duplicates", "foreign", "corrupt"].into_iter().map(of).sum();
    let mut text = format!("{:.2}", plain_us(run));
    for (name, count) in [("lost", of("lost")), ("faults", faults)] {
        if count > 0.0 {
            text += &format!(", {name} {}", thousands(count));
        }
    }
    text
}

pub(super) fn plain_us(run: &Value) -> f64 {
    number(&run["summary"]["cpu_ns_per_packet_median"]) / 1e3
}

pub(super) fn rate(run: &Value) -> String {
    thousands(number(&run["summary"]["packets_per_second_median"]))
}

/// p50 and p99 in milliseconds.
pub(super) fn latency(run: &Value) -> String {
    quantiles(&run["summary"], &["latency_p50_ns", "latency_p99_ns"])
}

/// p50, p99 and p99.9 of a summary.
pub(super) fn latency_with_tail(summary: &Value) -> String {
    quantiles(summary, &["latency_p50_ns", "latency_p99_ns", "latency_p999_ns"])
}

/// With a mark where the generator was late.
fn quantiles(summary: &Value, names: &[&str]) -> String {
    let ms = |name: &&str| format!("{:.2}", number(&summary[name]) / 1e6);
    let ms: Vec<String> = names.iter().map(ms).collect();
    format!("{}{}", ms.join(" / "), if number(&summary["spoiled_windows"]) > 0.0 { " *" } else { "" })
}

/// Of the server for each subscriber in KB, if there were enough of them.
pub(super) fn memory(run: &Value) -> String {
    let bytes = run["memory"]["per_subscriber_bytes"].as_f64();
    cell(bytes.as_ref(), |bytes| format!("{:.0}", bytes / 1e3))
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
        let run = json!({"summary": summary, "memory": {"per_subscriber_bytes": 31_400.0}});
        assert_eq!(us(&run), "2.35, lost 1,200, faults 3");
        assert_eq!((rate(&run), latency(&run)), ("7,500".to_owned(), "0.12 / 1.50 *".to_owned()));
        assert_eq!((memory(&run), latency_with_tail(&summary)), ("31".into(), "0.12 / 1.50 / 0.00 *".into()));
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("Title", "µs", "a | b");
        table.rows.push(vec!["x".to_owned(), cell(None::<&f64>, |_| String::new())]);
        assert_eq!(table.markdown(), "### Title\n\nµs.\n\n| a | b |\n| --- | --- |\n| x | – |\n");
    }
}
