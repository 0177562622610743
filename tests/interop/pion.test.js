/**
 * Pion, as Debian packages it, built here: another implementation of all of WebRTC, in Go.
 * @module
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { tmpdir } from "node:os";
import { dirname, join as path } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { VP8, startEncoders } from "./support/encoder.js";
import { says, startPeer } from "./support/peer.js";
import { ONE_BACK_END, startServer } from "./support/server.js";

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

for (const io of ONE_BACK_END) {
    describe(`Pion over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const setup of ["actpass", "passive"]) {
            test(`it publishes to a browser and to itself, with a=setup:${setup}`, async () => {
                const browser = await launch("chromium");
                const pion = startPeer(path(dir, "whip_pion"), server.http, setup, setup);
                /** @type {{stop(): void} | undefined} */
                let encoders;
                try {
                    encoders = await startEncoders(pion, VP8);
                    await says(pion, "publishing");
                    const person = await join(browser, server, { login: "viewer", room: setup });
                    await person.watches("camera");
                    await says(pion, "playing");
                    pion.finish();
                    assert.equal(await pion.ended, 0, pion.output());
                    await person.sees("participant1Name", "NONE");
                } finally {
                    encoders?.stop();
                    pion.kill();
                    await browser.close();
                }
            });
        }
    });
}
