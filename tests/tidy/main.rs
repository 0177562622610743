//! House rules that a machine can hold, as a ratchet: what stands in an allowance may shrink, never grow.

mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// Longest function, in lines from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 60;
/// The same in tests, where a flat table of cases may be long.
const TEST_FUNCTION_LINES_MAX: usize = 140;
/// Longest source file. Around 400 ask yourself whether it holds two ideas.
const FILE_LINES_MAX: usize = 600;
/// Longest line of a comment and of prose; rustfmt holds the same for code.
const COLUMNS_MAX: usize = 110;
/// Long comment lines that a file of these folders may still have.
const LONG_COMMENTS: [(&str, usize); 3] = [("relay/core/", 10), ("signaling/", 2), ("bench/", 20)];
/// Documents whose prose is held to the width.
const PROSE: [&str; 4] = ["ARCHITECTURE.md", "README.md", "SECURITY.md", "fuzz/README.md"];
/// Packages that may hold `unsafe`.
const UNSAFE_ALLOWED: [&str; 5] =
    ["relay/io/", "relay/dtls/", "relay/gcm/", "tests/sim/allocations.rs", "tests/sim/memory.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// All of our source files with one of these endings, as path below the root and text.
fn sources(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let skipped = ["target", "node_modules", "corpus", "fixtures", "vectors", "artifacts"];
            if path.is_dir() && !name.starts_with('.') && !skipped.contains(&name.as_str()) {
                folders.push(path);
            } else if endings.iter().any(|e| name.ends_with(e)) {
                let below = path.strip_prefix(root()).expect("below").to_string_lossy().into_owned();
                if let Ok(text) = fs::read_to_string(&path) {
                    found.push((below, text));
                }
            }
        }
    }
    found.sort();
    assert!(found.len() > 2, "{endings:?} found in {:?}", root());
    found
}

fn assert_none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n{}", offenders.join("\n"));
}

#[test]
fn files_hold_one_idea() {
    let long: Vec<String> = sources(&[".rs", ".js", ".py"])
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none("files over the limit", &long);
}

#[test]
fn comments_and_prose_fit_the_width() {
    let mut long = Vec::new();
    for (path, text) in sources(&[".rs", ".js", ".toml", ".sh", ".py"]) {
        let is_comment = |line: &str| ["//", "#", "* "].iter().any(|mark| line.starts_with(mark));
        let too_long = |line: &&str| is_comment(line.trim_start()) && line.chars().count() > COLUMNS_MAX;
        let count = text.lines().filter(too_long).count();
        let allowed =
            LONG_COMMENTS.iter().find(|(folder, _)| path.starts_with(folder)).map_or(0, |(_, n)| *n);
        long.extend((count > allowed).then(|| format!("{path}: {count} lines, {allowed} allowed")));
    }
    for (path, text) in sources(&[".md"]) {
        let mut is_code = false;
        for (number, line) in text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            // A table's row is one line, and a link is not broken.
            let is_row =
                line.starts_with('|') || line.split(' ').any(|word| word.chars().count() > COLUMNS_MAX / 2);
            let is_prose = !is_code && !is_row && PROSE.contains(&path.as_str());
            if is_prose && line.chars().count() > COLUMNS_MAX {
                long.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_none("lines over 110 columns", &long);
}

#[test]
fn functions_fit_a_screen() {
    let mut long = Vec::new();
    for (path, text) in sources(&[".rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start().trim_start_matches("pub").trim_start_matches("(crate)");
            let words = words.trim_start_matches("(super)").trim_start();
            let words =
                words.trim_start_matches("async ").trim_start_matches("const ").trim_start_matches("unsafe ");
            if !words.starts_with("fn ") {
                continue;
            }
            let closing = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|l| *l == closing).map_or(1, |n| n + 1);
            let in_tests =
                path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
            if length > if in_tests { TEST_FUNCTION_LINES_MAX } else { FUNCTION_LINES_MAX } {
                long.push(format!("{path}:{}: {length} lines", start + 1));
            }
        }
    }
    assert_none("functions over the limit", &long);
}

#[test]
fn unsafe_stays_in_its_packages() {
    let offenders: Vec<String> = sources(&[".rs"])
        .iter()
        .filter(|(path, _)| {
            !UNSAFE_ALLOWED.iter().any(|a| path.starts_with(a)) && !path.starts_with("tests/tidy")
        })
        .filter(|(_, text)| ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|u| text.contains(u)))
        .map(|(path, _)| path.clone())
        .collect();
    assert_none("unsafe outside its packages", &offenders);
}

#[test]
fn nothing_is_left_undone_and_no_test_sleeps() {
    let mut offenders = Vec::new();
    for (path, text) in sources(&[".rs", ".js", ".mjs", ".py", ".sh"]) {
        if path.starts_with("tests/tidy") {
            continue;
        }
        let in_tests = path.starts_with("tests/") || path.contains("/tests/");
        for (number, line) in text.lines().enumerate() {
            let undone = ["FIXME", "TODO", "XXX", "todo!(", "unimplemented!(", "#[ignore"];
            let sleeps = in_tests
                && ["thread::sleep(", "time.sleep(", "time::sleep("].iter().any(|s| line.contains(s));
            if sleeps || undone.iter().any(|u| line.contains(u)) {
                offenders.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("unfinished or sleeping", &offenders);
}

#[test]
fn every_dependency_says_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let section = manifest.split("[workspace.dependencies]").nth(1).expect("dependencies");
    let section = section.split("\n[").next().expect("one section");
    let mut explained = false;
    let mut offenders = Vec::new();
    for line in section.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.trim().is_empty() {
            explained = false;
        } else if !explained && !line.contains("path =") {
            offenders.push(line.to_owned());
        }
    }
    assert_none("dependencies without a reason", &offenders);
    for (path, text) in sources(&["Cargo.toml"]) {
        let versions = text.lines().filter(|l| path != "Cargo.toml" && l.contains("version = \""));
        assert_eq!(versions.count(), 0, "{path}: versions live in the workspace manifest");
    }
}

#[test]
fn arrows_point_one_way() {
    let allowed: [(&str, &[&str]); 12] = [
        ("relay", &["relay-control", "relay-core", "relay-dtls", "relay-io", "relay-port", "relay-settings"]),
        ("relay/control", &[]),
        ("relay/core", &["relay-gcm", "relay-port"]),
        ("relay/dtls", &["relay-core"]),
        ("relay/gcm", &[]),
        ("relay/io", &[]),
        ("relay/port", &[]),
        ("relay/recorder", &["recorder-control", "relay-control", "relay-port", "relay-settings"]),
        ("relay/recorder-control", &[]),
        ("relay/settings", &[]),
        ("signaling", &["recorder-control", "relay-control", "relay-settings"]),
        ("tests/client", &["relay-core", "relay-dtls"]),
    ];
    let packages = [
        "relay-core",
        "relay-gcm",
        "relay-io",
        "relay-dtls",
        "relay-control",
        "relay-port",
        "relay-settings",
        "recorder",
        "recorder-control",
        "signaling",
        "ringvox-client",
        "tests",
    ];
    for (package, may) in allowed {
        let text = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
        let normal = text.split("[dev-dependencies]").next().expect("the first part");
        for other in packages {
            let arrow = normal.lines().any(|l| l.starts_with(&format!("{other}.workspace")));
            assert!(!arrow || may.contains(&other), "{package} must not depend on {other}");
        }
    }
}

/// Each promise of SECURITY.md names a test that exists.
#[test]
fn what_security_promises_is_tested() {
    let promises = fs::read_to_string(root().join("SECURITY.md")).expect("readable");
    let tests: String = sources(&[".rs"]).into_iter().map(|(_, text)| text).collect();
    let named: Vec<&str> =
        promises.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<String> = (named.into_iter())
        .filter(|name| !tests.contains(&format!("fn {}()", name.rsplit("::").next().unwrap_or_default())))
        .map(ToOwned::to_owned)
        .collect();
    assert_none("tests named in SECURITY.md that are not there", &missing);
    let listed = promises.split("## What is promised").nth(1).and_then(|rest| rest.split("\n## ").next());
    let bare: Vec<String> = (listed.expect("the list").split("\n- ").skip(1))
        .filter(|promise| !promise.contains("(`") && !promise.contains("(fuzz `"))
        .map(|promise| promise.lines().next().unwrap_or_default().to_owned())
        .collect();
    assert_none("promises in SECURITY.md without a test", &bare);
}
