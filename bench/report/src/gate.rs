//! Judges instruction counts against a baseline that is kept in the repository.
//!
//! Invariants
//! - Nothing is judged by halves: a body that is new, or gone, fails as one that has grown does.
//! - The baseline names its compiler. Another one makes other instructions, which is no regression of ours, so then nothing
//!   is judged until somebody has looked and accepted.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// More instructions than the baseline by this share, in percent, is a regression.
const TOLERANCE_PERCENT: f64 = 3.0;

/// Instructions by group, body and case.
type Counts = BTreeMap<String, u64>;

/// Judges the counts on the standard input; prints a line for each.
pub(crate) fn gate(path: &Path) -> Result<(), String> {
    let now = counts_from_stdin()?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let not_one = || format!("{} is no baseline. To make one: make bench-accept", path.display());
    let baseline: Value = serde_json::from_str(&text).map_err(|_| not_one())?;
    let compiler = baseline["rustc"].as_str().ok_or_else(not_one)?;
    let before = from_json(baseline["instructions"].as_object().ok_or_else(not_one)?);
    let this = rustc()?;
    if compiler != this {
        return Err(format!(
            "The baseline was made by {compiler}, this is {this}: nothing was judged.\n\
             Count a commit without other changes, then accept: make bench-accept"
        ));
    }
    println!("{:<40} {:>12} {:>12} {:>8}", "instructions", "baseline", "now", "change");
    let changes = changes(&before, &now);
    changes.iter().for_each(|change| println!("{change}"));
    let refused = changes.into_iter().filter(|change| change.fault().is_some());
    let refused: Vec<String> = refused.map(|change| change.name).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!(
        "REGRESSION, more than {TOLERANCE_PERCENT} % over the baseline, or not in it: {}.\n\
         Make it cheaper; or say in the commit why it must be so, and: make bench-accept",
        refused.join(", ")
    ))
}

/// Makes the counts on the standard input the baseline.
pub(crate) fn accept(path: &Path) -> Result<(), String> {
    let counts = counts_from_stdin()?;
    let baseline = json!({ "rustc": rustc()?, "instructions": counts });
    let text = format!("{baseline:#}\n");
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{} counts are the baseline now: {}", counts.len(), path.display());
    Ok(())
}

/// A body before and now.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    name: String,
    before: Option<u64>,
    now: Option<u64>,
}

impl Change {
    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<&'static str> {
        match (self.before, self.now) {
            (Some(before), Some(now)) => {
                (self.percent(before, now) > TOLERANCE_PERCENT).then_some("TOO MANY")
            }
            (None, _) => Some("NEW"),
            (_, None) => Some("GONE"),
        }
    }

    fn percent(&self, before: u64, now: u64) -> f64 {
        // Exact at the tolerance itself, which a quotient is not.
        (now as f64 - before as f64) * 100.0 / before as f64
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let percent = self.before.zip(self.now).map(|(before, now)| self.percent(before, now));
        let percent = percent.map_or_else(String::new, |percent| format!("{percent:+.1}%"));
        let (before, now, fault) = (count(self.before), count(self.now), self.fault().unwrap_or_default());
        write!(f, "{:<40} {before:>12} {now:>12} {percent:>8}  {fault}", self.name)
    }
}

fn changes(before: &Counts, now: &Counts) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let change = |name: &String| Change {
        name: name.clone(),
        before: before.get(name).copied(),
        now: now.get(name).copied(),
    };
    names.into_iter().map(change).collect()
}

fn from_json(instructions: &Map<String, Value>) -> Counts {
    instructions.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

fn counts_from_stdin() -> Result<Counts, String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
    let counts = Some(counts(&text)).filter(|counts| !counts.is_empty());
    counts.ok_or_else(|| "No counts came in. What the runner said stands above.".to_owned())
}

/// The runner's summaries, one a line.
fn counts(text: &str) -> Counts {
    let summaries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let count = |summary: Value| {
        let name = [&summary["group"], &summary["function_name"], &summary["id"]];
        let name = name.iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join("/");
        let total = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
        Some((name, total.as_u64()?))
    };
    summaries.filter_map(count).collect()
}

fn rustc() -> Result<String, String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .map_err(|error| format!("rustc --version: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_comes_or_goes_is_refused() {
        for (before, now, fails) in [
            (Some(1_000), Some(1_000), false),
            (Some(1_000), Some(500), false),
            (Some(1_000), Some(1_030), false),
            (Some(1_000), Some(1_031), true),
            (None, Some(1_000), true),
            (Some(1_000), None, true),
        ] {
            let counts =
                |count: Option<u64>| count.map(|count| ("wire/parse".into(), count)).into_iter().collect();
            let changes = changes(&counts(before), &counts(now));
            assert_eq!(changes.len(), 1);
            assert_eq!(changes[0].fault().is_some(), fails, "{before:?} before, {now:?} now");
        }
    }

    #[test]
    fn counts_are_read_from_summaries_among_other_lines() {
        let summary = |count: &str| {
            format!(
                r#"{{"group":"wire","function_name":"parse_rtp","id":"header",
                "profiles":[{{"data":{{"total":{{"metrics":{{"Ir":{{"values":{{"new":{count}}}}}}}}}}}}}]}}"#
            )
            .replace('\n', "")
        };
        for (text, expected) in [
            (summary("156"), vec![("wire/parse_rtp/header", 156)]),
            (format!("Compiling\n{}\n", summary("7")), vec![("wire/parse_rtp/header", 7)]),
            (summary("null"), vec![]),
            ("nothing".into(), vec![]),
            (String::new(), vec![]),
        ] {
            let expected =
                expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<Counts>();
            assert_eq!(counts(&text), expected, "{text}");
        }
    }
}
