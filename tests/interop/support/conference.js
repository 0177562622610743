/**
 * One person on a demo page, as a test sees her.
 * @module
 */

import assert from "node:assert/strict";
import { newPerson } from "./browsers.js";
import { figures, picture, received } from "./figures.js";
import { until } from "./until.js";

export class Person {
    /** @param {import("puppeteer-core").Page & {problems: string[]}} page @param {string} login */
    constructor(page, login) {
        this.page = page;
        this.login = login;
    }

    /** Text of an element. @param {string} id @returns {Promise<string>} */
    text(id) {
        return this.page.$eval(`#${id}`, (element) => element.textContent?.trim() ?? "");
    }

    /** @param {string} id @param {string} expected */
    async sees(id, expected) {
        await until(`${this.login} sees ${expected} in #${id}`, async () => (await this.text(id)) === expected,
            { describe: () => this.look() });
    }

    /** Everything worth knowing when something else was expected. */
    async look() {
        const ids = ["status", "localStatus", "participant1Name", "participant1Status", "participant2Name", "failedInfo"];
        const texts = await Promise.all(ids.map(async (id) => [id, await this.text(id).catch(() => "")]));
        const lines = await this.lines();
        return { login: this.login, ...Object.fromEntries(texts), lines, problems: this.page.problems, figures: await figures(this.page) };
    }

    /** The chat, line by line, exactly as it stands. @returns {Promise<string[]>} */
    lines() {
        return this.page.$$eval("#chat .text", (elements) => elements.map((element) => element.textContent ?? ""));
    }

    /** @param {string} id */
    async click(id) {
        await this.page.$eval(`#${id}`, (element) => /** @type {HTMLElement} */ (element).click());
    }

    /** Sends with the Enter key, or with the button. @param {string} text @param {"enter" | "button"} how */
    async say(text, how = "enter") {
        await this.page.$eval("#message", (element, value) => {
            /** @type {HTMLInputElement} */ (element).value = value;
            /** @type {HTMLInputElement} */ (element).focus();
        }, text);
        await (how === "enter" ? this.page.keyboard.press("Enter") : this.click("sendBtn"));
    }

    /** @param {string} text */
    async hears(text) {
        await until(`${this.login} reads ${text}`, async () => (await this.lines()).includes(text), { describe: () => this.look() });
    }

    /** Waits until everything is up: published, and playing this many others. @param {number} others */
    async inCall(others = 1) {
        await this.sees("status", "ESTABLISHED");
        await this.sees("localStatus", "PUBLISHING");
        for (let slot = 1; slot <= others; slot += 1) {
            await this.sees(`participant${slot}Status`, "PLAYING");
        }
    }

    /** Pictures move, are not black, and a voice is heard. @param {number} [slot] */
    async receivesMedia(slot = 1) {
        const selector = `#participant${slot}Display video`;
        const describe = () => this.look();
        const before = await received(this.page);
        await until(`${this.login} decodes 20 more frames`, async () => (await received(this.page)).frames >= before.frames + 20, { describe });
        await until(`${this.login} hears something`, async () => (await received(this.page)).energy > before.energy, { describe });
        const first = await until(`${this.login} sees a picture`, async () => {
            const now = await picture(this.page, selector);
            return now && now.brightness > 16 ? now : null;
        }, { describe });
        await until(`${this.login}'s picture moves`, async () => (await picture(this.page, selector))?.print !== first.print, { describe });
    }

    /** Waits until the only other one is this, and its media comes. @param {string} name */
    async watches(name) {
        await this.sees("participant1Name", name);
        await this.sees("participant1Status", "PLAYING");
        await this.receivesMedia();
    }

    /** Nothing went wrong in the page that the page did not expect. */
    assertNoProblems() {
        assert.deepEqual(this.page.problems, [], `in ${this.login}'s page`);
    }

    async close() {
        await this.page.browserContext().close();
    }
}

/**
 * Opens one of the demo pages, in a window of its own.
 * @param {import("puppeteer-core").Browser} browser
 * @param {import("./server.js").Server} server
 * @param {string} room
 * @param {string} [app]
 */
export async function open(browser, server, room, app = "conference") {
    const page = await newPerson(browser);
    await page.goto(`${server.http}/demo/${app}/?roomName=${encodeURIComponent(room)}`);
    return page;
}

/**
 * Opens one of the demo pages and joins.
 * @param {import("puppeteer-core").Browser} browser
 * @param {import("./server.js").Server} server
 * @param {{login: string, room: string}} who
 * @param {string} [app]
 */
export async function join(browser, server, { login, room }, app) {
    const person = new Person(await open(browser, server, room, app), login);
    await person.page.type("#login", login);
    await person.click("joinBtn");
    return person;
}
