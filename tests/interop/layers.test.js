/**
 * Browsers that would send several encodings of one camera, which the relay does not negotiate: one of them
 * is forwarded, and players see a steady picture.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { ONE_BACK_END, startServer } from "./support/server.js";
import { until } from "./support/until.js";
import { flows, play, publish } from "./support/whip-page.js";

/** Three encodings, as pages ask for them. */
const RIDS = { encodings: [4, 2, 1].map((scaleResolutionDownBy, index) => ({ rid: "lmh"[index], scaleResolutionDownBy })) };

/** Two SSRCs in a group of simulcast, which Chromium uses whatever it is answered. */
const GROUP = { rtx: false, group: 2 };

for (const io of ONE_BACK_END) {
    describe(`several encodings, over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const kind of /** @type {import("./support/browsers.js").BrowserName[]} */ (["chromium", "firefox"])) {
            test(`${kind} offers three by rid: it sends one, and that is played`, async () => {
                await withPlayer(kind, RIDS, async ({ offer, answer, sender, viewer }) => {
                    assert.match(offer, /^a=simulcast:send /m);
                    assert.doesNotMatch(answer, /^a=(?:simulcast|rid):/m);
                    await isSteady(sender, viewer);
                });
            });
        }

        test("chromium sends two without asking: the first is played, and the other is counted", async () => {
            await withPlayer("chromium", GROUP, async ({ offer, sender, viewer }) => {
                assert.match(offer, /^a=ssrc-group:SIM /m);
                await until("both are sent", others, { describe: () => flows(sender) });
                // Whether the second is sent all that time is Chromium's choice, by what its machine can do.
                await isSteady(sender, viewer);
                const { transports } = await server.ctl("inventory");
                const forwarded = transports.flatMap(({ up_tracks }) => up_tracks).map(({ ssrc }) => ssrc);
                // Of the tests before this one, whose browsers are gone, something may be there still.
                const group = (/^a=ssrc-group:SIM (.*)$/m.exec(offer)?.[1] ?? "").trim().split(" ").map(Number);
                assert.deepEqual(group.map((ssrc) => forwarded.includes(ssrc)), [true, false]);
            });
        });

        /** Packets of an SSRC that is not forwarded. @returns {Promise<number>} */
        async function others() {
            return (await server.ctl("stats")).total["drop.rtp_other_source"] ?? 0;
        }

        /**
         * @param {import("./support/browsers.js").BrowserName} kind
         * @param {import("./support/whip-page.js").Wish} wish
         * @param {(what: {offer: string, answer: string, sender: Page, viewer: Page}) => Promise<void>} body
         */
        async function withPlayer(kind, wish, body) {
            const browser = await launch(kind);
            try {
                const [sender, viewer] = [await newPerson(browser), await newPerson(browser)];
                await Promise.all([sender, viewer].map((page) => page.goto(`${server.http}/`)));
                const room = `${kind}-${Object.keys(wish)[0]}`;
                const { offer, answer } = await publish(sender, `/whip/${room}?login=camera`, wish);
                await until("it is on the air", () => play(viewer, `/whep/${room}/camera`));
                await until("frames are decoded", async () => (await flows(viewer))[0].frames > 10);
                await body({ offer, answer, sender, viewer });
            } finally {
                await browser.close();
            }
        }
    });
}

/** @typedef {import("puppeteer-core").Page} Page */

/** Frames go on without new keyframes. @param {Page} sender @param {Page} viewer */
async function isSteady(sender, viewer) {
    const [before] = await flows(viewer);
    const describe = async () => ({ sent: await flows(sender), seen: await flows(viewer), before });
    await until("100 more frames are decoded", async () => (await flows(viewer))[0].frames >= before.frames + 100, { describe });
    const [now] = await flows(viewer);
    assert.ok(now.keyFrames <= before.keyFrames + 2 && now.plis <= before.plis + 2, JSON.stringify(await describe()));
}
