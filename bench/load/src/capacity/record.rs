//! Where the tables are written down: a chapter between two marks of a file, whose other text stays as it is.

use super::table::Table;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

const BEGIN: &str = "<!-- What `make capacity` wrote: begin -->\n";
const END: &str = "<!-- What `make capacity` wrote: end -->\n";

/// All tables, with the machine, and what failed.
pub(super) fn chapter(machine: &str, tables: &[Table], failures: &[String]) -> String {
    let tables: String = tables.iter().map(|table| format!("\n{}", table.markdown())).collect();
    let mut text = format!("Taken by `make capacity` on {machine}.\n{tables}");
    if text.contains(" * |") {
        text +=
            "\n\\* The generator itself was late in one of these windows: the latency is in part its own.\n";
    }
    if !failures.is_empty() {
        text += "\nFailed:\n\n";
        failures.iter().for_each(|failure| text += &format!("- {failure}\n"));
    }
    text
}

/// Puts the chapter in the place of the last one.
pub(super) fn replace(path: &Path, chapter: &str) -> Result<(), String> {
    let wrong = |why| format!("{}: {why}", path.display());
    let text = fs::read_to_string(path).map_err(wrong)?;
    let text = replaced(&text, chapter).ok_or_else(|| {
        format!("{}: put a line {BEGIN} and a line {END} where the tables belong", path.display())
    })?;
    fs::write(path, text).map_err(wrong)
}

fn replaced(text: &str, chapter: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{chapter}\n{END}{after}"))
}

/// Processor, kernel and commit, in one line.
pub(super) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cores = available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} virtual cores of {}, kernel {}, commit {}, {}",
        processor(&read("/proc/cpuinfo")).unwrap_or("an unnamed processor"),
        read("/proc/sys/kernel/osrelease").trim(),
        output("git", &["describe", "--always", "--dirty", "--exclude=*"]).unwrap_or("unknown".to_owned()),
        output("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
    )
}

fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = format!("# Results\n\n{BEGIN}old\n{END}\nmore\n");
        let once = replaced(&text, "new\n").expect("both marks are there");
        assert_eq!(once, format!("# Results\n\n{BEGIN}\nnew\n\n{END}\nmore\n"));
        assert_eq!(replaced(&once, "new\n"), Some(once.clone()));
        assert_eq!(replaced("# Results\n", "new"), None);
    }

    #[test]
    fn failures_are_named() {
        let text = chapter("a machine", &[], &["1 → 50: ended with 1".to_owned()]);
        assert_eq!(text, "Taken by `make capacity` on a machine.\n\nFailed:\n\n- 1 → 50: ended with 1\n");
    }

    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9554 64-Core Processor\nmodel name\t: other\n";
        assert_eq!(processor(text), Some("AMD EPYC 9554 64-Core Processor"));
        assert_eq!(processor("processor: 0"), None);
    }
}
