/**
 * Signaling is killed with -9 in the middle of a call, or ended by a service manager, and started again:
 * media goes on as if nothing had happened, the pages come back by themselves, and chat works again.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { figures, received } from "./support/figures.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

/**
 * How signaling goes, and who started the programs.
 * @typedef {{io: string, manager: "none" | "both", how: string}} Way
 */

/** @type {Way[]} */
const WAYS = [
    ...BACK_ENDS.map((io) => /** @type {Way} */ ({ io, manager: "none", how: "dies" })),
    { io: "auto", manager: "both", how: "is restarted by a service manager" },
];

for (const { io, manager, how } of WAYS) {
    describe(`signaling ${how} and comes back, over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("puppeteer-core").Browser} */
        let browser;

        before(async () => {
            [server, browser] = await Promise.all([startServer({ io, manager, rooms: "adopt_grace_ms = 10000" }), launch("chromium")]);
        });
        after(async () => {
            await browser?.close();
            await server?.stop();
        });

        test("media never stops, and both pages are back in the room", async () => {
            const people = await Promise.all(["Алиса", "Борис"].map((login) => join(browser, server, { login, room: "переправа" })));
            const [alice, boris] = people;
            await Promise.all(people.map((person) => person.inCall()));
            await Promise.all(people.map((person) => person.receivesMedia()));
            const relay = await server.relayPid();
            await alice.click("muteAudio");
            await until("Boris sees her mute", () => boris.page.$eval("#participant1 .mutes", (element) => element.textContent !== ""));
            const connections = await Promise.all(people.map(({ page }) => page.evaluate(() => globalThis.__connections.length)));
            const gaps = await Promise.all(people.map(({ page }) => watchGaps(page)));

            await (manager === "none" ? server.crash() : server.retire());
            await Promise.all(people.map((person) => person.sees("status", "RECONNECTING")));
            const before = await Promise.all(people.map(({ page }) => received(page)));
            for (const [index, person] of people.entries()) {
                await until(`${person.login} decodes on without signaling`, async () => (await received(person.page)).frames > before[index].frames + 30);
            }

            await server.start();
            assert.equal(await server.relayPid(), relay, "the relay lived on");
            await Promise.all(people.map((person) => person.inCall()));
            await alice.say("Снова здесь 🎉");
            await boris.hears("Снова здесь 🎉");
            await boris.say("И я");
            await alice.hears("И я");

            const longest = await Promise.all(gaps.map((gap) => gap()));
            for (const [index, person] of people.entries()) {
                assert.equal(await person.page.evaluate(() => globalThis.__connections.length), connections[index], "no connection was made anew");
                assert.ok(longest[index].grew, `${person.login}'s pictures went on from sample to sample: ${longest[index].samples}`);
                assert.deepEqual((await figures(person.page)).map(({ state }) => state), ["connected", "connected"]);
            }
            assert.notEqual(await boris.page.$eval("#participant1 .mutes", (element) => element.textContent), "", "still muted");

            await alice.click("muteAudio");
            await Promise.all(people.map((person) => person.receivesMedia()));

            // The re-adopted room is a room like any other: members leave it and a third one comes.
            await boris.click("leaveBtn");
            await alice.sees("participant1Name", "NONE");
            const carol = await join(browser, server, { login: "carol", room: "переправа" });
            await Promise.all([alice.inCall(), carol.inCall()]);
            await Promise.all([alice.receivesMedia(), carol.receivesMedia()]);
            await Promise.all([alice, boris, carol].map((person) => person.close()));
        });

        test("a member who does not come back after the crash leaves the room", async () => {
            const [alice, boris] = await Promise.all(["Алиса", "Борис"].map((login) => join(browser, server, { login, room: "потеря" })));
            await Promise.all([alice.inCall(), boris.inCall()]);
            await (manager === "none" ? server.crash() : server.retire());
            await boris.close();
            await server.start();
            await alice.inCall(0);
            await alice.sees("participant1Name", "NONE");
            await alice.close();
        });
    });
}

/**
 * Counts decoded frames four times a second in the page, on its own clock, until asked.
 * @param {import("puppeteer-core").Page} page
 * @returns {Promise<() => Promise<{grew: boolean, samples: number[]}>>} `grew`: frames came in every second
 */
async function watchGaps(page) {
    await page.evaluate(() => {
        const samples = /** @type {number[]} */ ([]);
        Object.assign(globalThis, { __samples: samples });
        setInterval(async () => {
            let frames = 0;
            for (const connection of globalThis.__connections) {
                for (const entry of (await connection.getStats()).values()) {
                    frames += entry.type === "inbound-rtp" && entry.kind === "video" ? entry.framesDecoded : 0;
                }
            }
            samples.push(frames);
        }, 250);
    });
    return async () => {
        const samples = /** @type {number[]} */ (await page.evaluate(() => /** @type {any} */ (globalThis).__samples));
        const grew = samples.every((frames, index) => index < 8 || frames > samples[index - 8]);
        return { grew, samples };
    };
}
