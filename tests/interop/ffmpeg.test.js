/**
 * FFmpeg's own WHIP muxer: the DTLS server unless it is told otherwise, with one check before the handshake.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { says, startPeer } from "./support/peer.js";
import { ONE_BACK_END, startServer } from "./support/server.js";

for (const io of ONE_BACK_END) {
    describe(`FFmpeg's muxer over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const [role, ...more] of [["server"], ["client", "whip_flags=dtls_active"]]) {
            test(`a browser plays what it publishes as the DTLS ${role}`, async () => {
                const browser = await launch("chromium");
                const muxer = startPeer("whip_ffmpeg.py", `${server.http}/whip/${role}?login=encoder`, "certificate", ...more);
                try {
                    await says(muxer, "publishing");
                    const person = await join(browser, server, { login: "viewer", room: role });
                    await person.watches("encoder");
                    muxer.finish();
                    assert.equal(await muxer.ended, 0, muxer.output());
                    await person.sees("participant1Name", "NONE");
                } finally {
                    muxer.kill();
                    await browser.close();
                }
            });
        }
    });
}
