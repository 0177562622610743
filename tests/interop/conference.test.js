/**
 * Two people on the Conference page, in every pair of browsers, over both back ends of the relay.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { figures } from "./support/figures.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

/** @type {[import("./support/browsers.js").BrowserName, import("./support/browsers.js").BrowserName][]} */
const PAIRS = [["chromium", "chromium"], ["firefox", "firefox"], ["chromium", "firefox"]];

const GREETING = "Привет, Борис! 👋🏽 «ёжик» & <b>не жирно</b>";
const ANSWER = "И тебе 🎈 — 日本語 ✓";

for (const io of BACK_ENDS) {
    describe(`Conference over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {Record<string, import("puppeteer-core").Browser>} */
        const browsers = {};

        before(async () => {
            server = await startServer({ io });
            browsers.chromium = await launch("chromium");
            browsers.firefox = await launch("firefox");
        });
        after(async () => {
            await Promise.all(Object.values(browsers).map((browser) => browser.close()));
            await server?.stop();
        });

        for (const [first, second] of PAIRS) {
            test(`${first} and ${second} see, hear and read each other, and one leaves`, async (context) => {
                const room = `комната ${first}-${second}`;
                const alice = await join(browsers[first], server, { login: "Алиса 🎧", room });
                context.after(() => alice.close());
                await alice.sees("status", "ESTABLISHED");
                await alice.sees("localStatus", "PUBLISHING");
                const boris = await join(browsers[second], server, { login: "Борис-2", room });
                context.after(() => boris.close());
                await Promise.all([alice.inCall(), boris.inCall()]);
                await alice.sees("participant1Name", "Борис-2");
                await boris.sees("participant1Name", "Алиса 🎧");
                await Promise.all([alice.receivesMedia(), boris.receivesMedia()]);
                await assertBestCrypto(server, [alice, boris]);

                await alice.say(GREETING, "enter");
                await boris.hears(GREETING);
                await boris.say(ANSWER, "button");
                await alice.hears(ANSWER);

                await boris.click("leaveBtn");
                await alice.sees("participant1Name", "NONE");
                await boris.sees("status", "DISCONNECTED");
                await alice.click("leaveBtn");
                await alice.sees("status", "DISCONNECTED");
                await until("the relay holds no transport", async () => (await server.ctl("inventory")).transports.length === 0);
                [alice, boris].forEach((person) => person.assertNoProblems());
            });
        }
    });
}

/**
 * DTLS 1.3 with post-quantum key agreement, and AES-GCM, whichever browser it is.
 * @param {import("./support/server.js").Server} server
 * @param {import("./support/conference.js").Person[]} people
 */
async function assertBestCrypto(server, people) {
    for (const { page, login } of people) {
        for (const { dtls, srtp } of await figures(page)) {
            assert.equal(dtls, "FEFC", `DTLS 1.3 of ${login}`);
            assert.match(srtp, /AEAD_AES_128_GCM/, `SRTP cipher of ${login}`);
        }
    }
    const { transports } = await server.ctl("inventory");
    assert.ok(transports.length >= 2 * people.length);
    for (const transport of transports) {
        assert.equal(transport.dtls_group, "X25519MLKEM768");
    }
}
