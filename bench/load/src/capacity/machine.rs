//! On what the figures were taken.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// Processor, kernel and commit, in one line.
pub(super) fn words() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} virtual cores of {}, kernel {}, commit {}, {}",
        model(&cpuinfo).unwrap_or("an unnamed processor"),
        kernel.trim(),
        said("git", &["describe", "--always", "--dirty", "--exclude=*"])
            .unwrap_or_else(|| "unknown".to_owned()),
        said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
    )
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9554 64-Core Processor\nmodel name\t: other\n";
        assert_eq!(model(text), Some("AMD EPYC 9554 64-Core Processor"));
        assert_eq!(model("processor: 0"), None);
    }
}
