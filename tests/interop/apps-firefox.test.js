/**
 * The pages for two in Firefox, and one Firefox with one Chromium: what `apps.test.js` shows of Chromium, as
 * far as it depends on the browser.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { startServer } from "./support/server.js";

describe("the pages for two in Firefox", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    /** @type {import("puppeteer-core").Browser} */
    let firefox;
    /** @type {import("puppeteer-core").Browser} */
    let chromium;

    before(async () => {
        [server, firefox, chromium] = await Promise.all([startServer(), launch("firefox"), launch("chromium")]);
    });
    after(async () => {
        await Promise.all([firefox?.close(), chromium?.close()]);
        await server?.stop();
    });

    test("two talk, a third is refused, and one who left comes back", async () => {
        const room = { room: "пара" };
        const alice = await join(firefox, server, { login: "Алиса", ...room }, "two-way-video-chat");
        await alice.sees("localStatus", "PUBLISHING");
        const boris = await join(firefox, server, { login: "Boris <b>", ...room }, "two-way-video-chat");
        await Promise.all([alice.inCall(), boris.inCall()]);
        await Promise.all([alice.receivesMedia(), boris.receivesMedia()]);
        await boris.say("Привет 👋");
        await alice.hears("Привет 👋");

        const third = await join(firefox, server, { login: "third", ...room }, "two-way-video-chat");
        await third.sees("failedInfo", "Current room is full: this page is for two, and two people are in it.");
        assert.equal((await alice.lines()).includes("third joined"), false, "nobody sees who was not let in");
        await third.close();

        await boris.click("leaveBtn");
        await alice.sees("participant1Name", "NONE");
        await boris.click("joinBtn");
        await Promise.all([alice.inCall(), boris.inCall()]);
        await alice.receivesMedia();
        await Promise.all([alice.close(), boris.close()]);
    });

    test("a screen that Chromium shares is seen in Firefox", async () => {
        const viewer = await join(firefox, server, { login: "viewer", room: "screens" }, "screen-sharing");
        await viewer.sees("localStatus", "PUBLISHING");
        const sharer = await join(chromium, server, { login: "sharer", room: "screens" }, "screen-sharing");
        await Promise.all([viewer.inCall(), sharer.inCall()]);
        await sharer.click("shareBtn");
        await viewer.sees("participantScreenStatus", "PLAYING");
        await viewer.sees("participantScreenName", "sharer shares");
        await Promise.all([viewer.receivesMedia(), sharer.receivesMedia()]);
        await sharer.click("shareBtn");
        await viewer.sees("participantScreenName", "NONE");
        await Promise.all([viewer.inCall(), sharer.inCall()]);
        await Promise.all([viewer.close(), sharer.close()]);
    });
});
