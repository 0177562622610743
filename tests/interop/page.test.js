/**
 * The pages themselves: what people may type into them, how they look on a small screen, and without a mouse.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { Person, join } from "./support/conference.js";
import { HOSTILE_TEXTS } from "./support/hostile.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

/** The longest login that the page lets a person type. */
const LOGIN_MAX = 64;

/** Of what no login has, what stands in the hostile texts. */
const UNSEEN = /[\p{Cc}\u200E\u200F\u202A-\u202E\u2066-\u2069]/u;

describe("the pages", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    /** @type {import("puppeteer-core").Browser} */
    let browser;

    before(async () => {
        [server, browser] = await Promise.all([startServer({ rooms: "max_participants = 10" }), launch("chromium")]);
    });
    after(async () => {
        await browser?.close();
        await server?.stop();
    });

    test("the index lists the demo pages, and they open", async () => {
        const page = await newPerson(browser);
        await page.goto(server.http);
        await Promise.all([page.waitForNavigation(), page.click('a[href="demo/conference/"]')]);
        assert.match(await page.title(), /Conference/);
        assert.equal(await page.$eval("#url", (element) => /** @type {HTMLInputElement} */ (element).value), server.ws);
        assert.match(await page.$eval("#roomName", (element) => /** @type {HTMLInputElement} */ (element).value), /^room-[0-9a-f]{6}$/);
        assert.deepEqual(page.problems, []);
        await page.browserContext().close();
    });

    test("three people fit into the layout, and one who leaves gives the place back", async () => {
        const people = [];
        for (const login of ["one", "two", "three"]) {
            people.push(await join(browser, server, { login, room: "three" }));
            await people.at(-1)?.sees("localStatus", "PUBLISHING");
        }
        await Promise.all(people.map((person) => person.inCall(2)));
        await people[0].click("leaveBtn");
        await people[1].sees("participant1Name", "NONE");
        await people[1].sees("participant1Status", "NONE");
        await Promise.all(people.map((person) => person.close()));
    });

    test("nine people fill a conference, the tenth is told", async () => {
        const crowd = await newPerson(browser);
        await crowd.goto(server.http);
        await crowd.evaluate(enterSilently, server.ws, "crowd", ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        const tenth = await join(browser, server, { login: "ten", room: "crowd" });
        await tenth.sees("failedInfo", "The room is full. Try again later, or choose another room.");
        await tenth.sees("status", "DISCONNECTED");
        await Promise.all([tenth.close(), crowd.browserContext().close()]);
    });

    test("the server's own limit is told in its words", async () => {
        const strict = await startServer({ rooms: "max_participants = 1" });
        try {
            const [first, second] = [await join(browser, strict, { login: "one", room: "r" }), await join(browser, strict, { login: "two", room: "r" })];
            await Promise.any([first, second].map((person) => person.sees("failedInfo", "The room is full. Try again later, or choose another room.")));
            await Promise.all([first.close(), second.close()]);
        } finally {
            await strict.stop();
        }
    });

    test("text of others is only ever text", async () => {
        const victim = await join(browser, server, { login: "victim", room: "hostile" });
        await victim.sees("localStatus", "PUBLISHING");
        const attacker = await newPerson(browser);
        await attacker.goto(server.http);
        // Nobody gets in with a login that cannot be told from another one; what is said may be anything.
        const visits = HOSTILE_TEXTS.map((text, index) => ({ login: UNSEEN.test(text) ? `visitor ${index}` : text.slice(0, LOGIN_MAX), text }));
        await attacker.evaluate(visitAll, server.ws, visits);
        await victim.hears(visits[visits.length - 1].text);
        const lines = await victim.lines();
        const names = await victim.page.$$eval("#chat .from", (elements) => elements.map((element) => element.textContent));
        assert.deepEqual(names, visits.map(({ login }) => login));
        for (const { login, text } of visits) {
            assert.ok(lines.includes(text), text);
            assert.ok(lines.includes(`${login} joined`), login);
        }
        await assertUntouched(victim);
        await victim.close();
        await attacker.browserContext().close();
    });

    test("an invite link cannot bring code", async () => {
        for (const text of HOSTILE_TEXTS.filter((one) => one.includes("__pwned")).slice(0, 8)) {
            const person = await join(browser, server, { login: "guest", room: text });
            await person.sees("status", "ESTABLISHED");
            const invite = await until("there is an invite link", () => person.page.$eval("#inviteAddress", (element) => /** @type {HTMLInputElement} */ (element).value));
            assert.equal(new URL(invite).searchParams.get("roomName"), text.trim());
            await assertUntouched(person);
            await person.close();
        }
    });

    test("a camera that is refused is told, and the call goes on without it", async () => {
        const page = await newPerson(browser);
        await page.evaluateOnNewDocument(() => {
            navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
        });
        const shy = new Person(page, "shy");
        await page.goto(`${server.http}/demo/conference/?roomName=shy`);
        await page.type("#login", "shy");
        await shy.click("joinBtn");
        await shy.sees("localStatus", "FAILED");
        await shy.hears("You are not seen or heard: Camera or microphone is not allowed on this page. Allow it beside the address, then press Publish.");
        const other = await join(browser, server, { login: "other", room: "shy" });
        await other.sees("localStatus", "PUBLISHING");
        await shy.sees("participant1Status", "PLAYING");
        await Promise.all([shy.close(), other.close()]);
    });

    test("a server that is not there is told", async () => {
        const page = await newPerson(browser);
        const person = new Person(page, "lost");
        await page.goto(`${server.http}/demo/conference/`);
        await page.type("#login", "lost");
        await page.$eval("#url", (element) => { /** @type {HTMLInputElement} */ (element).value = "ws://localhost:9/"; });
        await person.click("joinBtn");
        await person.sees("failedInfo", "The server cannot be reached. Check the network and the server's address, then join again.");
        await page.$eval("#url", (element) => { /** @type {HTMLInputElement} */ (element).value = "ftp://nonsense"; });
        await person.click("joinBtn");
        await until("the bad address is named", async () => /url|ftp/i.test(await person.text("failedInfo")));
        await page.browserContext().close();
    });

    test("a keyboard is enough: join, chat, mute, leave", async () => {
        const page = await newPerson(browser);
        const person = new Person(page, "keys");
        await page.goto(`${server.http}/demo/conference/?roomName=keys`);
        await page.keyboard.type("keys");
        await page.keyboard.press("Enter");
        await person.sees("localStatus", "PUBLISHING");
        assert.equal(await focused(page), "message");
        await page.keyboard.type("typed");
        await page.keyboard.press("Enter");
        await person.hears("typed");
        await tabTo(page, "muteAudio");
        await page.keyboard.press("Space");
        assert.equal(await page.$eval("#muteAudio", (element) => element.getAttribute("aria-pressed")), "true");
        await tabTo(page, "leaveBtn");
        await page.keyboard.press("Enter");
        await person.sees("status", "DISCONNECTED");
        assert.equal(await focused(page), "login");
        await page.browserContext().close();
    });

    test("everything that can be used has a name for a screen reader", async () => {
        const person = await join(browser, server, { login: "reader", room: "reader" });
        await person.sees("localStatus", "PUBLISHING");
        const nameless = await person.page.$$eval("button, input, select, meter, dialog, [role=log], [role=img], aside, section", (elements) => elements
            .filter((element) => !(element.getAttribute("aria-label") || element.textContent?.trim() || /** @type {HTMLInputElement} */ (element).labels?.length))
            .map((element) => element.outerHTML));
        assert.deepEqual(nameless, []);
        await person.close();
    });

    for (const [what, width, height] of /** @type {[string, number, number][]} */ ([["desktop", 1280, 720], ["tablet", 820, 1180], ["phone", 360, 640], ["phone on its side", 740, 360]])) {
        test(`nothing hangs over the edge of a ${what}`, async () => {
            const person = await join(browser, server, { login: "looker", room: `look ${width}` });
            await person.page.setViewport({ width, height });
            await person.sees("localStatus", "PUBLISHING");
            const sizes = await person.page.evaluate(() => ({
                overflow: document.documentElement.scrollWidth - innerWidth,
                outside: [...document.querySelectorAll("button, input, .tile")]
                    .filter((element) => /** @type {HTMLElement} */ (element).offsetParent)
                    .map((element) => ({ id: element.id, box: element.getBoundingClientRect() }))
                    .filter(({ box }) => box.left < 0 || box.right > innerWidth || box.width < 20 || box.height < 20)
                    .map(({ id }) => id),
            }));
            assert.deepEqual(sizes, { overflow: 0, outside: [] });
            await person.close();
        });
    }
});

/** In the attacker's page: a visit to the room under each name, with one message. */
async function visitAll(/** @type {string} */ urlServer, /** @type {{login: string, text: string}[]} */ visits) {
    const { connect, SESSION_STATUS, ROOM_EVENT } = await import(/** @type {any} */ ("/sdk/index.js"));
    for (const { login, text } of visits) {
        const session = connect({ urlServer, username: login });
        await new Promise((resolve, reject) => {
            session.on(SESSION_STATUS.ESTABLISHED, resolve).on(SESSION_STATUS.FAILED, () => reject(new Error(`no session for ${login}`)));
        });
        const room = session.join({ name: "hostile" });
        await new Promise((resolve, reject) => {
            room.on(ROOM_EVENT.STATE, resolve).on(ROOM_EVENT.FAILED, (_, info) => reject(new Error(`${login}: ${info}`)));
        });
        await room.sendMessage(text);
        await room.leave();
        session.disconnect();
    }
}

/** In a page of its own: people without camera, all in one room. */
async function enterSilently(/** @type {string} */ url, /** @type {string} */ name, /** @type {string[]} */ logins) {
    const { connect, SESSION_STATUS, ROOM_EVENT } = await import(/** @type {any} */ ("/sdk/index.js"));
    for (const username of logins) {
        const session = connect({ urlServer: url, username });
        await new Promise((resolve) => session.on(SESSION_STATUS.ESTABLISHED, resolve));
        await new Promise((resolve) => session.join({ name }).on(ROOM_EVENT.STATE, resolve));
    }
}

/** @param {Person} person */
async function assertUntouched(person) {
    assert.equal(await person.page.evaluate(() => /** @type {any} */ (globalThis).__pwned), undefined);
    assert.deepEqual(person.page.problems, []);
    assert.equal(await person.page.$$eval("#room script, #room iframe, #room img, #room style, #room a, #room object", (elements) => elements.length), 0);
}

/** @param {import("puppeteer-core").Page} page */
function focused(page) {
    return page.evaluate(() => document.activeElement?.id);
}

/** @param {import("puppeteer-core").Page} page @param {string} id */
async function tabTo(page, id) {
    for (let press = 0; press < 20; press += 1) {
        if ((await focused(page)) === id) {
            return;
        }
        await page.keyboard.press("Tab");
    }
    assert.fail(`#${id} cannot be reached with the Tab key`);
}
