//! Prints what criterion has timed as a document: a table for each group, ours beside the others.
//!
//! A body named `what, by whom` is somebody else's code for the work of the body named `what`. Where a number tells apart
//! what bodies of one name get, each number has a column.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Who we are in the tables.
const OURS: &str = "Ringvox";

const PREFACE: &str = include_str!("preface.md");

/// Prints everything below `folder` that was timed since `since` was touched, by `command`.
pub(crate) fn print(folder: &Path, since: &Path, command: &str) -> Result<(), String> {
    let mut timed = Vec::new();
    collect(folder, modified(since)?, &mut timed)?;
    if timed.is_empty() {
        return Err(format!(
            "{}: nothing was timed; does a body match what was asked for?",
            folder.display()
        ));
    }
    timed.sort_by_key(|body| body.when);
    println!("# Micro-benchmarks\n\n{PREFACE}\n```\n{command}\n{}\n```", machine());
    for table in tables(&timed) {
        print!("\n{table}");
    }
    Ok(())
}

#[derive(Debug, Clone, PartialEq)]
struct Timed {
    when: SystemTime,
    group: String,
    what: String,
    /// Whose code it is, or the number.
    column: String,
    ns: f64,
}

fn collect(folder: &Path, since: SystemTime, timed: &mut Vec<Timed>) -> Result<(), String> {
    let unreadable = |error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.ends_with("new") {
            let when = modified(&path.join("estimates.json"))?;
            if when >= since {
                timed.push(read(&path, when)?);
            }
        } else if path.is_dir() {
            collect(&path, since, timed)?;
        }
    }
    Ok(())
}

fn modified(path: &Path) -> Result<SystemTime, String> {
    fs::metadata(path)
        .and_then(|file| file.modified())
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn json(path: PathBuf) -> Result<Value, String> {
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(folder: &Path, when: SystemTime) -> Result<Timed, String> {
    let (body, estimates) = (json(folder.join("benchmark.json"))?, json(folder.join("estimates.json"))?);
    timed(when, &body, &estimates).ok_or_else(|| {
        format!("{}: no estimate of criterion's; remove the folder and run make bench", folder.display())
    })
}

fn timed(when: SystemTime, body: &Value, estimates: &Value) -> Option<Timed> {
    let function = body["function_id"].as_str().unwrap_or_default();
    let (what, whose) = function.rsplit_once(", by ").unwrap_or((function, OURS));
    let value = body["value_str"].as_str();
    let (what, column) = match value {
        Some(number) if number.parse::<u64>().is_ok() => (what.into(), number),
        Some(value) => (format!("{what}, {value}"), whose),
        None => (what.into(), whose),
    };
    let elements = body["throughput"]["Elements"].as_f64().unwrap_or(1.0);
    Some(Timed {
        when,
        group: body["group_id"].as_str()?.into(),
        what,
        column: column.into(),
        ns: estimates["median"]["point_estimate"].as_f64()? / elements,
    })
}

/// A table for each group, in the order in which they ran: a line for each kind of body.
fn tables(timed: &[Timed]) -> Vec<String> {
    let groups = distinct(timed.iter().map(|body| &*body.group));
    let of = |group| timed.iter().filter(|body| body.group == group).collect();
    groups.into_iter().map(|group| table(group, of(group))).collect()
}

fn table(group: &str, bodies: Vec<&Timed>) -> String {
    let columns = distinct(bodies.iter().map(|body| &*body.column));
    let mut out = format!("| {group} | {} |\n|---|{}\n", columns.join(" | "), "--:|".repeat(columns.len()));
    for what in distinct(bodies.iter().map(|body| &*body.what)) {
        let cell = |column: &&str| {
            let body = bodies.iter().find(|body| body.what == what && body.column == *column);
            body.map_or_else(|| " |".to_owned(), |body| format!(" {} |", figure(body.ns)))
        };
        out += &format!("| {what} |{}\n", columns.iter().map(cell).collect::<String>());
    }
    out
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// Three digits that count, thousands set apart.
fn figure(ns: f64) -> String {
    match ns {
        ..10.0 => format!("{ns:.2}"),
        10.0..100.0 => format!("{ns:.1}"),
        100.0..10_000.0 => format!("{ns:.0}"),
        10_000.0..99_500.0 => format!("{:.1} k", ns / 1_000.0),
        _ => format!("{:.0} k", ns / 1_000.0),
    }
}

/// Processor, kernel, compiler and commit, as far as they say so.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let lines = [
        Some(model.trim_start_matches(['\t', ' ', ':']).to_owned()),
        Some(format!("Linux {}", kernel.trim())),
        said("rustc", &["--version"]),
        said("git", &["rev-parse", "--short", "HEAD"]).map(|commit| format!("commit {commit}")),
    ];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn others_stand_beside_ours() {
        let body = |group: &str, function: &str, value: Option<&str>, elements: u64, ns: f64| {
            let body = json!({
                "group_id": group,
                "function_id": function,
                "value_str": value,
                "throughput": { "Elements": elements }
            });
            let estimates = json!({ "median": { "point_estimate": ns } });
            timed(SystemTime::UNIX_EPOCH, &body, &estimates).expect("an estimate")
        };
        let bodies = [
            body("SRTP", "protect", Some("120 B"), 1, 84.04),
            body("SRTP", "protect, by a", Some("120 B"), 1, 400.0),
            body("STUN", "parse, validate", None, 1, 9.0),
            body("SRTP", "open", Some("120 B"), 1, 12_345.0),
            body("fan-out", "8 at a time", Some("10"), 80, 8_000.0),
            body("fan-out", "8 at a time", Some("50"), 400, 20_000.0),
        ];
        let expected = [
            "| SRTP | Ringvox | a |\n|---|--:|--:|\n| protect, 120 B | 84.0 | 400 |\n| open, 120 B | 12.3 k | |\n",
            "| STUN | Ringvox |\n|---|--:|\n| parse, validate | 9.00 |\n",
            "| fan-out | 10 | 50 |\n|---|--:|--:|\n| 8 at a time | 100 | 50.0 |\n",
        ];
        assert_eq!(tables(&bodies), expected);
    }

    #[test]
    fn figures_have_three_digits() {
        for (ns, text) in [
            (0.8, "0.80"),
            (9.994, "9.99"),
            (84.04, "84.0"),
            (250.4, "250"),
            (9_999.0, "9999"),
            (45_600.0, "45.6 k"),
            (250_400.0, "250 k"),
        ] {
            assert_eq!(figure(ns), text);
        }
    }
}
