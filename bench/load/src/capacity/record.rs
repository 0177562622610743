//! Where the tables are written down: a chapter between two marks of a file, whose other text stays as it is.

use super::table::Table;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- What `make capacity` wrote: begin -->\n";
const END: &str = "<!-- What `make capacity` wrote: end -->\n";

/// All tables, with the machine, and what failed.
pub(super) fn chapter(machine: &str, tables: &[Table], failures: &[String]) -> String {
    let mut text = format!("Taken by `make capacity` on {machine}.\n");
    for table in tables {
        text.push('\n');
        text.push_str(&table.markdown());
    }
    if text.contains(" * |") {
        text.push_str(
            "\n\\* The generator itself was late in one of these windows: the latency is in part its own.\n",
        );
    }
    if !failures.is_empty() {
        text.push_str("\nFailed:\n\n");
        failures.iter().for_each(|failure| text.push_str(&format!("- {failure}\n")));
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
}
