//! What a run brought, for people and for machines.

use crate::run::Outcome;
use crate::session::{Churn, Joins, Window};
use crate::tally::Counts;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::path::Path;

const NS_PER_MS: f64 = 1e6;

/// Writes it for machines.
pub(crate) fn write(path: &Path, value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|why| why.to_string())?;
    std::fs::write(path, text + "\n").map_err(|why| format!("{}: {why}", path.display()))
}

/// One window on one line.
pub(crate) fn line(window: &Window) -> String {
    let counts = &window.counts;
    let ms = |share| window.latency.value_at_quantile(share) as f64 / NS_PER_MS;
    format!(
        "{:.0} packets/s forwarded, {:.3} us CPU each, server {:.0} %, generator {:.0} %, lost {}, undelivered {}, \
         latency p50 {:.3} p99 {:.3} p99.9 {:.3} ms{}",
        window.per_second(window.forwarded()),
        window.cpu_ns_per_packet() / 1000.0,
        share(window.cpu_ns, window.seconds),
        share(window.own_cpu_ns, window.seconds),
        counts.lost,
        undelivered(window),
        ms(0.5),
        ms(0.99),
        ms(0.999),
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

fn share(cpu_ns: u64, seconds: f64) -> f64 {
    cpu_ns as f64 / seconds / 1e7
}

/// Packets that were sent for a subscriber and did not reach it; around a window's ends a few are under way.
fn undelivered(window: &Window) -> i64 {
    window.counts.offered.cast_signed() - window.forwarded().cast_signed()
}

/// All of it.
pub(crate) fn json(outcome: &Outcome) -> Value {
    let agreed = outcome.agreed;
    json!({
        "dtls_version": agreed.map(|agreed| agreed.version),
        "dtls_group": agreed.map(|agreed| agreed.group),
        "srtp_profile": agreed.map(|agreed| agreed.profile.name()),
        "publishers": outcome.publishers,
        "subscribers": outcome.subscribers,
        "joins": joins_json(&outcome.joins),
        "storm": outcome.storm.as_ref().map(joins_json),
        "memory": {
            "at_start_bytes": outcome.memory.at_start,
            "with_publishers_bytes": outcome.memory.with_publishers,
            "at_end_bytes": outcome.memory.at_end,
            "per_subscriber_bytes": outcome.memory.per_subscriber,
        },
        "windows": outcome.windows.iter().map(window_json).collect::<Vec<_>>(),
        "summary": summary_json(&outcome.windows),
    })
}

fn joins_json(joins: &Joins) -> Value {
    json!({
        "count": joins.count,
        "seconds": joins.seconds,
        "per_second": f64::from(joins.count) / joins.seconds,
        "cpu_ns": joins.cpu_ns,
        "beside_cpu_ns": joins.beside_cpu_ns,
        "per_cpu_second": f64::from(joins.count) * 1e9 / joins.cpu_ns.max(1) as f64,
    })
}

/// Of coming and going.
pub(crate) fn churn_json(churn: &Churn) -> Value {
    let memory = |(joins, bytes): &(u32, u64)| json!({"joins": joins, "bytes": bytes});
    json!({
        "joins": joins_json(&churn.joins),
        "resident_memory": churn.memory.iter().map(memory).collect::<Vec<_>>(),
        "generator_cpu_ns": churn.own_cpu_ns,
        "counts": counts_json(&churn.counts),
    })
}

fn counts_json(counts: &Counts) -> Map<String, Value> {
    counts.named().map(|(name, count)| (name.to_owned(), count.into())).collect()
}

pub(crate) fn window_json(window: &Window) -> Value {
    json!({
        "seconds": window.seconds,
        "counts": counts_json(&window.counts),
        "forwarded": window.forwarded(),
        "sunk": window.sunk,
        "undelivered": undelivered(window),
        "spoiled": window.is_spoiled(),
        "cpu_ns": window.cpu_ns,
        "cpu_ns_per_packet": window.cpu_ns_per_packet(),
        "threads_cpu_ns": window.threads_cpu_ns,
        "beside_cpu_ns": window.beside_cpu_ns,
        "softirq_thread_ns": window.softirq_ns,
        "generator_cpu_ns": window.own_cpu_ns,
        "latency_ns": quantiles(&window.latency),
        "lateness_of_frames_ns": quantiles(&window.lateness),
        "server": window.server,
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
pub(crate) fn summary_json(windows: &[Window]) -> Value {
    let cpu = sorted(windows, Window::cpu_ns_per_packet);
    let rate = sorted(windows, |window| window.per_second(window.forwarded()));
    let latency =
        |quantile: f64| median(&sorted(windows, |window| window.latency.value_at_quantile(quantile) as f64));
    let sum = |pick: fn(&Window) -> u64| windows.iter().map(pick).sum::<u64>();
    json!({
        "cpu_ns_per_packet_median": median(&cpu),
        "cpu_ns_per_packet_min": cpu.first(),
        "packets_per_second_median": median(&rate),
        "server_cores_median": median(&sorted(windows, Window::cores)),
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

fn sorted(windows: &[Window], pick: impl Fn(&Window) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = windows.iter().map(pick).collect();
    values.sort_by(f64::total_cmp);
    values
}

pub(crate) fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
