/**
 * GStreamer's webrtcbin over WHIP and WHEP, with its defaults: no BUNDLE group, so that only the first m-line
 * can be had, players that say nothing of their H.264, a handshake in many small datagrams, and no checks
 * once it is connected.
 * @module
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { dirname, join as path } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ONE_BACK_END, startServer } from "./support/server.js";
import { until } from "./support/until.js";

const SCRIPT = path(dirname(fileURLToPath(import.meta.url)), "whip_gstreamer.py");
/** The system's own, which has the bindings of Debian's packages. */
const PYTHON = "/usr/bin/python3";

const NOT_BUNDLED = (kind) => `${kind};code="bad-offer";info="The offer does not BUNDLE its m-lines"`;

/** @type {{what: string, how: string[], published: string[], played: string[], rejected: (string | null)[]}[]} */
const CASES = [
    {
        what: "its defaults, video first: the picture",
        how: ["--video", "VP8"],
        published: ["video"], played: ["video"], rejected: [NOT_BUNDLED("audio"), null],
    },
    {
        what: "its defaults, audio first: the sound",
        how: ["--kinds", "audio,video"],
        published: ["audio"], played: ["audio"], rejected: [NOT_BUNDLED("video"), null],
    },
    {
        what: "bundled, H.264 to a player that does not say which: both",
        how: ["--policy", "max-bundle", "--video", "H264"],
        published: ["video", "audio"], played: ["video", "audio"], rejected: [null, null],
    },
    {
        what: "bundled, to a player with the defaults: the picture",
        how: ["--policy", "max-bundle", "--video", "H264", "--play-policy", "none"],
        published: ["video", "audio"], played: ["video"], rejected: [null, NOT_BUNDLED("audio")],
    },
    {
        // Audio first: where the bundle's first m-line is rejected, webrtcbin 1.22 makes a transport that it
        // has not offered.
        what: "bundled, H.264 to a player of VP8: the sound",
        how: ["--policy", "max-bundle", "--video", "H264", "--play-video", "VP8", "--kinds", "audio,video"],
        published: ["audio", "video"], played: ["audio"], rejected: [null, 'video;code="no-common-codecs";info="No common codecs"'],
    },
    {
        what: "its defaults, longer than consent lasts without a check: the sound",
        how: ["--kinds", "audio,video", "--buffers", "1700"],
        published: ["audio"], played: ["audio"], rejected: [NOT_BUNDLED("video"), null],
    },
];

for (const io of ONE_BACK_END) {
    describe(`webrtcbin over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const { what, how, published, played, rejected } of CASES) {
            test(what, async () => {
                const command = [SCRIPT, "--base", server.http, "--room", what, ...how];
                const { stdout } = await promisify(execFile)(PYTHON, command, { timeout: 120_000, killSignal: "SIGKILL" });
                const result = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
                assert.deepEqual(result, {
                    published, played, publisher_rejected: rejected[0], player_rejected: rejected[1],
                    got: { video: played.includes("video"), audio: played.includes("audio") },
                });
                await until("nothing is left in the relay", async () => (await server.ctl("inventory")).transports.length === 0);
            });
        }
    });
}
