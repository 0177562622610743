/**
 * Pion, as Debian packages it, built here: another implementation of all of WebRTC, in Go.
 * @module
 */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { tmpdir } from "node:os";
import { dirname, join as path } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { OPUS, VP8, startEncoder } from "./support/encoder.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

const HERE = dirname(fileURLToPath(import.meta.url));
/** Where Debian's packages have their sources. */
const PACKAGES = "/usr/share/gocode";

/** @type {string} */
let dir;
before(async () => {
    dir = await mkdtemp(path(tmpdir(), "ringvox-pion-"));
    const source = path(dir, "src/whip_pion");
    await mkdir(source, { recursive: true });
    await copyFile(path(HERE, "whip_pion.go"), path(source, "main.go"));
    // Its presence alone makes Go take `pion/webrtc/v3` for `pion/webrtc`, as it is packaged.
    await writeFile(path(source, "go.mod"), "module whip_pion\n");
    const env = { ...process.env, GO111MODULE: "off", GOFLAGS: "", GOPATH: `${dir}:${PACKAGES}` };
    await promisify(execFile)("go", ["build", "-o", path(dir, "whip_pion"), "."], { cwd: source, env });
});
after(() => rm(dir, { recursive: true, force: true }));

for (const io of BACK_ENDS) {
    describe(`Pion over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const setup of ["actpass", "passive"]) {
            test(`it publishes to a browser and to itself, with a=setup:${setup}`, async () => {
                const browser = await launch("chromium");
                const pion = start(server.http, setup, setup);
                try {
                    const port = (/** @type {string} */ kind) => Number(pion.output().match(new RegExp(`^${kind} (\\d+)$`, "m"))?.[1]);
                    await until("it listens", () => port("video") && port("audio"), { describe: pion.output });
                    pion.encoders.push(startEncoder(VP8, port("video")), startEncoder(OPUS, port("audio")));
                    await until("it publishes", () => pion.output().includes("publishing"), { describe: pion.output });
                    const person = await join(browser, server, { login: "viewer", room: setup });
                    await person.sees("participant1Name", "camera");
                    await person.sees("participant1Status", "PLAYING");
                    await person.receivesMedia();
                    await until("it plays", () => pion.output().includes("playing"), { describe: pion.output });
                    pion.finish();
                    assert.equal(await pion.ended, 0, pion.output());
                    await person.sees("participant1Name", "NONE");
                } finally {
                    pion.kill();
                    await browser.close();
                }
            });
        }
    });
}

/** @param {...string} words see the program */
function start(...words) {
    const child = spawn(path(dir, "whip_pion"), words);
    let output = "";
    child.stdout.on("data", (data) => { output += data; });
    child.stderr.on("data", (data) => { output += data; });
    const ended = new Promise((resolve) => child.once("close", resolve));
    /** @type {{stop(): void}[]} */
    const encoders = [];
    return {
        output: () => output,
        encoders,
        ended,
        finish: () => child.stdin.end(),
        kill: () => {
            encoders.forEach((encoder) => encoder.stop());
            return child.exitCode === null && child.kill("SIGKILL");
        },
    };
}
