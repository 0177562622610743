/**
 * The vendor's SDK and its Conference page, unmodified from npm, against our server: the customers' pages change one
 * address and nothing else.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch, newPerson } from "./support/browsers.js";
import { join as joinOurs } from "./support/conference.js";
import { picture, received } from "./support/figures.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { serve } from "./support/static.js";
import { until } from "./support/until.js";

const SDK = join(dirname(fileURLToPath(import.meta.url)), "node_modules/@flashphoner/websdk");
const PAGE = "/examples/demo/streaming/conference/conference.html";

for (const io of BACK_ENDS) {
    describe(`the vendor's Conference page over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("puppeteer-core").Browser} */
        let browser;
        /** @type {{url: string, close: () => void}} */
        let pages;

        before(async () => {
            [server, browser, pages] = await Promise.all([startServer({ io }), launch("chromium"), serve(SDK)]);
        });
        after(async () => {
            await browser?.close();
            pages?.close();
            await server?.stop();
        });

        /** @param {string} login @param {string} room */
        async function join(login, room) {
            const page = await newPerson(browser);
            await page.goto(`${pages.url}${PAGE}?roomName=${encodeURIComponent(room)}`);
            await page.evaluate((url, name) => {
                /** @type {any} */ (document.getElementById("url")).value = url;
                /** @type {any} */ (document.getElementById("login")).value = name;
            }, server.ws, login);
            await press(page, "joinBtn");
            return page;
        }

        test("two tabs join, publish, play, chat, mute, stop and leave", async () => {
            const alice = await join("alice", "lobby-1");
            await shows(alice, "status", "ESTABLISHED");
            await shows(alice, "localStatus", "PUBLISHING");
            assert.match(await text(alice, "chat"), /room is empty/);
            const bob = await join("bob", "lobby-1");
            await shows(bob, "localStatus", "PUBLISHING");
            await shows(alice, "participant1Name", "bob");
            await shows(bob, "participant1Name", "alice");
            assert.match(await text(bob, "chat"), /participants: alice/);
            await Promise.all([flows(alice), flows(bob)]);

            await say(alice, "Привет 👋");
            await until("bob reads it", async () => (await text(bob, "chat")).includes("alice - Привет 👋"));
            await say(bob, "и тебе");
            await until("alice reads it", async () => (await text(alice, "chat")).includes("bob - и тебе"));

            await shows(bob, "participant1AudioState", "Unmuted");

            await shows(bob, "participant1Btn", "Stop");
            await press(bob, "participant1Btn");
            await shows(bob, "participant1Btn", "Play");
            await press(bob, "participant1Btn");
            await shows(bob, "participant1Btn", "Stop");
            await flows(bob);

            await press(alice, "localStopBtn");
            await shows(alice, "localStatus", "UNPUBLISHED");
            await shows(bob, "participant1Btn", "Play");
            await press(alice, "localStopBtn");
            await shows(alice, "localStatus", "PUBLISHING");
            await flows(bob);

            await press(bob, "joinBtn");
            await shows(alice, "participant1Name", "NONE");
            await shows(bob, "joinBtn", "Join");
            await press(bob, "joinBtn");
            await shows(alice, "participant1Name", "bob");
            await Promise.all([flows(alice), flows(bob)]);
            assert.deepEqual([...alice.problems, ...bob.problems].filter(ours), []);
            await Promise.all([alice, bob].map((page) => page.browserContext().close()));
        });

        test("a login that is there already is refused in the vendor's words", async () => {
            const alice = await join("alice", "lobby-2");
            await shows(alice, "localStatus", "PUBLISHING");
            const twin = await join("alice", "lobby-2");
            await shows(twin, "failedInfo", "Room already has user with such login");
            await Promise.all([alice, twin].map((page) => page.browserContext().close()));
        });

        test("a page of the vendor and one of ours meet in one room", async () => {
            const theirs = await join("vendor", "lobby-3");
            await shows(theirs, "localStatus", "PUBLISHING");
            const ours = await joinOurs(browser, server, { login: "Ours", room: "lobby-3" });
            await ours.inCall();
            await shows(theirs, "participant1Name", "Ours");
            await Promise.all([flows(theirs), ours.receivesMedia()]);
            await ours.say("Привет 🎈");
            await until("the vendor's page shows it", async () => (await text(theirs, "chat")).includes("Ours - Привет 🎈"));
            await ours.click("leaveBtn");
            await shows(theirs, "participant1Name", "NONE");
            await theirs.browserContext().close();
            await ours.close();
        });
    });
}

/** The vendor's page asks for a font and an icon that the package does not have. @param {string} problem */
function ours(problem) {
    return !problem.includes("404");
}

/** @param {import("puppeteer-core").Page} page @param {string} id */
function text(page, id) {
    return page.$eval(`#${id}`, (element) => element.textContent?.trim() ?? "");
}

/** Clicks a button once it can be clicked. @param {import("puppeteer-core").Page} page @param {string} id */
async function press(page, id) {
    await until(`#${id} can be pressed`, () => page.$eval(`#${id}`, (element) => !(/** @type {HTMLButtonElement} */ (element).disabled)));
    await page.$eval(`#${id}`, (element) => /** @type {HTMLElement} */ (element).click());
}

/** @param {any} page @param {string} id @param {string} expected */
function shows(page, id, expected) {
    const describe = async () => ({ shown: await text(page, id), status: await text(page, "localStatus"), chat: await text(page, "chat"), problems: page.problems });
    return until(`#${id} shows ${expected}`, async () => (await text(page, id)) === expected, { describe });
}

/** @param {import("puppeteer-core").Page} page @param {string} message */
async function say(page, message) {
    await page.$eval("#message", (element, value) => { /** @type {any} */ (element).value = value; }, message);
    await press(page, "sendMessageBtn");
}

/** The first participant's pictures move and are not black, and the voice is heard. @param {import("puppeteer-core").Page} page */
async function flows(page) {
    const before = await received(page);
    await until("20 more frames are decoded", async () => (await received(page)).frames >= before.frames + 20);
    await until("something is heard", async () => (await received(page)).energy > before.energy);
    const first = await until("there is a picture", async () => {
        const now = await picture(page, "#participant1Display video");
        return now && now.brightness > 16 ? now : null;
    });
    await until("it moves", async () => (await picture(page, "#participant1Display video"))?.print !== first.print);
}
