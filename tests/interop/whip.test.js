/**
 * WHIP and WHEP, used by a WebRTC stack that is neither ours nor a browser's (aiortc), and by plain HTTP.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { says, startPeer } from "./support/peer.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const io of BACK_ENDS) {
    describe(`WHIP and WHEP over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const [video, audio] of [["VP8", "opus"], ["H264", "PCMU"], ["VP8", "PCMA"]]) {
            test(`aiortc publishes ${video} and ${audio}, plays it back, and every picture is the one that was sent`, async () => {
                const aiortc = peer("--room", `${video} & ${audio}`, "--video", video, "--audio", audio);
                const code = await aiortc.ended;
                assert.equal(code, 0, `${aiortc.output()}\n${await server.log()}`);
                const result = JSON.parse(aiortc.output().trim().split("\n").at(-1) ?? "");
                assert.equal(result.pictures, 40);
                await until("nothing is left in the relay", async () => (await server.ctl("inventory")).transports.length === 0);
            });
        }

        test("aiortc publishes and plays as the DTLS server", async () => {
            const aiortc = peer("--room", "passive", "--passive");
            assert.equal(await aiortc.ended, 0, `${aiortc.output()}\n${await server.log()}`);
            assert.equal(JSON.parse(aiortc.output().trim().split("\n").at(-1) ?? "").pictures, 40);
            await until("nothing is left in the relay", async () => (await server.ctl("inventory")).transports.length === 0);
        });

        const apart = 'audio;code="bad-offer";info="The offer does not BUNDLE its m-lines"';
        const noCodec = 'video;code="no-common-codecs";info="No common codecs"';
        for (const [what, how, expected] of /** @type {[string, string, object][]} */ ([
            ["plays with VP8 what is H.264: it hears the sound", "codec", { tone_hz: 440, publisher_rejected: null, player_rejected: noCodec }],
            ["offers no BUNDLE group: the picture", "bundle", { pictures: 40, publisher_rejected: apart, player_rejected: null }],
            ["has several certificates: the picture", "fingerprints", { pictures: 40, publisher_rejected: null, player_rejected: null }],
            ["offers no mids: the picture", "mid", { pictures: 40, publisher_rejected: apart, player_rejected: null }],
        ])) {
            test(`aiortc ${what}`, async () => {
                const aiortc = startPeer("whip_aiortc_part.py", "--base", server.http, "--case", how);
                assert.equal(await aiortc.ended, 0, `${aiortc.output()}\n${await server.log()}`);
                const result = JSON.parse(aiortc.output().trim().split("\n").at(-1) ?? "");
                const found = Object.fromEntries(Object.keys(expected).map((name) => [name, result[name]]));
                assert.deepEqual(found, expected);
            });
        }

        test("a WHIP publisher looks like any member to a page", async () => {
            const browser = await launch("chromium");
            const aiortc = peer("--room", "door", "--hold");
            try {
                await says(aiortc, "publishing");
                const person = await join(browser, server, { login: "viewer", room: "door" });
                await person.watches("pattern");
                aiortc.finish();
                assert.equal(await aiortc.ended, 0, aiortc.output());
                await person.sees("participant1Name", "NONE");
            } finally {
                aiortc.kill();
                await browser.close();
            }
        });

        test("what is wrong is said with the right status", async () => {
            const sdp = { "content-type": "application/sdp" };
            /** @type {[string, string, RequestInit, number][]} */
            const cases = [
                ["no SDP at all", "/whip/r", { method: "POST", headers: sdp, body: "garbage" }, 400],
                ["another type", "/whip/r", { method: "POST", headers: { "content-type": "text/plain" }, body: "v=0" }, 415],
                ["a stream that is not there", "/whep/r/nobody", { method: "POST", headers: sdp, body: "v=0\r\n" }, 404],
                ["a session that is not there", "/whip/r/nothing", { method: "DELETE" }, 404],
                ["GET of an endpoint", "/whip/r", { method: "GET" }, 405],
            ];
            for (const [what, where, request, status] of cases) {
                assert.equal((await fetch(server.http + where, request)).status, status, what);
            }
        });

        /** @param {...string} more */
        function peer(...more) {
            return startPeer("whip_aiortc.py", "--base", server.http, ...more);
        }
    });
}
