/**
 * H.264 from Chromium to Chromium, where this build of Chromium has an encoder for it.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { figures } from "./support/figures.js";
import { ONE_BACK_END, startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const io of ONE_BACK_END) {
    describe(`H.264 over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("puppeteer-core").Browser} */
        let browser;

        before(async () => {
            [server, browser] = await Promise.all([startServer({ io, media: 'video = ["h264", "vp8"]' }), launch("chromium")]);
        });
        after(async () => {
            await browser?.close();
            await server?.stop();
        });

        test("a server that prefers H.264 gets it, and VP8 from a browser that has none", async () => {
            const alice = await join(browser, server, { login: "alice", room: "h264" });
            const bob = await join(browser, server, { login: "bob", room: "h264" });
            await Promise.all([alice.inCall(), bob.inCall()]);
            await Promise.all([alice.receivesMedia(), bob.receivesMedia()]);
            const hasH264 = await alice.page.evaluate(() =>
                RTCRtpSender.getCapabilities("video")?.codecs.some(({ mimeType }) => mimeType === "video/H264"));
            const expected = hasH264 ? "video/H264" : "video/VP8";
            const codecs = await until("codecs are known", async () => {
                const all = (await figures(alice.page)).map(({ sent, video }) => sent.codec || video.codec);
                return all.every(Boolean) && all;
            });
            assert.deepEqual(codecs, [expected, expected]);
            await Promise.all([alice.close(), bob.close()]);
        });
    });
}
