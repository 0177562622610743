//! What is read out of the benchmarks: a verdict over instruction counts, and a table of times.
//!
//! `bench-report gate BASELINE < COUNTS` judges, `bench-report accept BASELINE < COUNTS` makes the counts the baseline,
//! `bench-report table CRITERION_FOLDER SINCE_FILE COMMAND` prints what was timed since that file was touched. The Makefile
//! says all three.

mod gate;
mod table;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["gate", baseline] => gate::gate(Path::new(baseline)),
        ["accept", baseline] => gate::accept(Path::new(baseline)),
        ["table", folder, since, command] => table::print(Path::new(folder), Path::new(since), command),
        _ => {
            Err("usage: bench-report gate|accept BASELINE, or: table CRITERION_FOLDER SINCE_FILE COMMAND"
                .into())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("\n{words}");
            ExitCode::FAILURE
        }
    }
}
