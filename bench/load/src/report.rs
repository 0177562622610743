//! What a run brought, for people and for machines.

use crate::run::Window;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn write(path: &Path, value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|why| why.to_string())?;
    std::fs::write(path, text + "\n").map_err(|why| format!("{}: {why}", path.display()))
}

pub(crate) fn line(window: &Window) -> String {
    format!(
        "{:.0} packets/s forwarded, {:.3} us CPU each, server {:.0} %, generator {:.0} %, lost {}, undelivered {}, \
         latency p50 {:.3} p99 {:.3} p99.9 {:.3} ms{}",
        window.per_second(window.forwarded()),
        window.cpu_ns_per_packet() / 1000.0,
        100.0 * window.cores(),
        window.per_second(window.cpu.own) / 1e7,
        window.counts.lost,
        undelivered(window),
        window.latency_ms(0.5),
        window.latency_ms(0.99),
        window.latency_ms(0.999),
        faults(window),
    )
}

/// Anything that must never happen.
fn faults(window: &Window) -> String {
    let counts = &window.counts;
    let wrong = [
        ("duplicates", counts.duplicates),
        ("foreign", counts.foreign),
        ("corrupt", counts.corrupt),
        ("unauthentic", counts.unauthentic),
        ("unknown SSRC", counts.unknown_ssrc),
    ];
    wrong.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!(", {name} {count}")).collect()
}

/// Packets that were sent for a subscriber and did not reach it; around a window's ends a few are under way.
fn undelivered(window: &Window) -> i64 {
    window.counts.offered.cast_signed() - window.forwarded().cast_signed()
}

/// All of a window.
pub(crate) fn window(window: &Window) -> Value {
    json!({
        "seconds": window.seconds,
        "counts": window.counts.json(),
        "forwarded": window.forwarded(),
        "sunk": window.sunk,
        "undelivered": undelivered(window),
        "spoiled": window.is_spoiled(),
        "cpu_ns": window.cpu.server,
        "cpu_ns_per_packet": window.cpu_ns_per_packet(),
        "threads_cpu_ns": window.cpu.threads,
        "beside_cpu_ns": window.cpu.beside,
        "softirq_thread_ns": window.cpu.softirq,
        "generator_cpu_ns": window.cpu.own,
        "latency_ns": quantiles(&window.latency),
        "lateness_of_frames_ns": quantiles(&window.lateness),
        "server": window.server,
        "summary": summary(std::slice::from_ref(window)),
    })
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "count": histogram.len(),
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
}

/// Medians and smallest values of the windows.
pub(crate) fn summary(windows: &[Window]) -> Value {
    let typical = |pick: &dyn Fn(&Window) -> f64| median(windows.iter().map(pick).collect());
    let latency = |share: f64| typical(&|window| window.latency.value_at_quantile(share) as f64);
    let sum = |pick: fn(&Window) -> u64| windows.iter().map(pick).sum::<u64>();
    json!({
        "cpu_ns_per_packet_median": typical(&Window::cpu_ns_per_packet),
        "cpu_ns_per_packet_min": windows.iter().map(Window::cpu_ns_per_packet).reduce(f64::min),
        "packets_per_second_median": typical(&|window| window.per_second(window.forwarded())),
        "server_cores_median": typical(&Window::cores),
        "latency_p50_ns": latency(0.5),
        "latency_p99_ns": latency(0.99),
        "latency_p999_ns": latency(0.999),
        "lost": sum(|window| window.counts.lost),
        "lost_audio": sum(|window| window.counts.lost_audio),
        "spoiled_windows": windows.iter().filter(|window| window.is_spoiled()).count(),
        "duplicates": sum(|window| window.counts.duplicates),
        "foreign": sum(|window| window.counts.foreign),
        "corrupt": sum(|window| window.counts.corrupt + window.counts.unauthentic + window.counts.unknown_ssrc),
        "checked": sum(|window| window.counts.checked),
    })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Several servers' figures beside each other, one row for each figure.
pub(crate) fn side_by_side(values: &[Value]) -> String {
    let rows: [(&str, &[&str], f64); 7] = [
        ("us of CPU per packet, median", &["cpu_ns_per_packet_median"], 1e3),
        ("us of CPU per packet, least", &["cpu_ns_per_packet_min"], 1e3),
        ("packets per second", &["packets_per_second_median"], 1.0),
        ("latency p50, ms", &["latency_p50_ns"], 1e6),
        ("latency p99, ms", &["latency_p99_ns"], 1e6),
        ("lost", &["lost"], 1.0),
        ("duplicates, foreign and corrupt", &["duplicates", "foreign", "corrupt"], 1.0),
    ];
    let row = |title: &str, cell: &dyn Fn(&Value) -> String| {
        let cells: String = values.iter().map(|value| format!("{:>20}", cell(value))).collect();
        format!("{title:32}{cells}")
    };
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let name = |value: &Value| {
        let detail = value["server_version"].as_str().or(value["channel"].as_str()).unwrap_or_default();
        format!("{} {detail}", text(&value["peer"]))
    };
    let mut lines = vec![row("", &name)];
    for (title, keys, unit) in rows {
        let digits = if unit > 1.0 { 3 } else { 0 };
        lines.push(row(title, &|value| {
            let numbers = keys.iter().filter_map(|key| value["summary"][key].as_f64());
            format!("{:.digits$}", numbers.sum::<f64>() / unit)
        }));
    }
    lines.push(row("SRTP profile", &|value| text(&value["srtp_profile"])));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_side_by_side() {
        let value = |peer: &str, version: Value, ns: f64| {
            json!({"peer": peer, "channel": "control", "server_version": version, "srtp_profile": "GCM",
                "summary": {"cpu_ns_per_packet_median": ns, "lost": 3, "duplicates": 1, "corrupt": 1}})
        };
        let table =
            side_by_side(&[value("ringvox", Value::Null, 3612.0), value("janus", json!("1.1.2"), 18_000.0)]);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["ringvox", "control", "janus", "1.1.2"]);
        assert_eq!(rows[1][6..], ["3.612", "18.000"]);
        assert_eq!(rows[6], ["lost", "3", "3"]);
        assert_eq!(rows[7][4..], ["2", "2"]);
        assert_eq!(rows[8], ["SRTP", "profile", "GCM", "GCM"]);
        assert!(table.lines().all(|line| line.len() == 72), "{table}");
    }
}
