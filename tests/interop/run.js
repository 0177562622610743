/**
 * Runs the test files one after another: each starts servers and browsers of its own, and two cores are soon
 * full. Usage: node run.js [part of a file's name ...]
 * @module
 */

import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "node:test";
import { spec as Spec } from "node:test/reporters";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
const files = readdirSync(here)
    .filter((name) => name.endsWith(".test.js") && (wanted.length === 0 || wanted.some((part) => name.includes(part))))
    .sort()
    .map((name) => join(here, name));
if (files.length === 0) {
    throw new Error(`no test file is called ${wanted.join(" or ")}`);
}

/** Longer than any file takes; a hanging browser must not hang the whole run. */
const FILE_TIMEOUT_MS = 15 * 60 * 1000;

// Cut short, the file that runs now is told, and takes its servers and browsers along.
const cut = new AbortController();
for (const signal of /** @type {NodeJS.Signals[]} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
    process.once(signal, () => cut.abort());
}

run({ files, concurrency: 1, timeout: FILE_TIMEOUT_MS, signal: cut.signal })
    .on("test:fail", () => { process.exitCode = 1; })
    .compose(new Spec())
    .pipe(process.stdout);
