/**
 * The Python scripts of these tests, with the packages of tests/requirements.txt.
 * @module
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const TESTS = dirname(dirname(fileURLToPath(import.meta.url)));
const PYTHON = [process.env.RINGVOX_PYTHON ?? "", join(TESTS, "../.venv/bin/python")].find((file) => file && existsSync(file)) ?? "python3";

/** Far more than any of them takes. */
const LATE_MS = 120_000;

/**
 * Starts a script of this directory. `finish` closes its standard input.
 * @param {string} script
 * @param {...string} words
 */
export function python(script, ...words) {
    const child = spawn(PYTHON, [join(TESTS, script), ...words]);
    let output = "";
    child.stdout.on("data", (data) => { output += data; });
    child.stderr.on("data", (data) => { output += data; });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const late = setTimeout(() => child.kill("SIGKILL"), LATE_MS);
    ended.then(() => clearTimeout(late));
    return { output: () => output, ended, finish: () => child.stdin.end(), kill: () => child.exitCode === null && child.kill("SIGKILL") };
}
