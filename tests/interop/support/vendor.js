/**
 * The vendor's SDK and its example pages, unmodified from npm, as a customer's own web server gives them out:
 * where they run in the tests, and a person who uses them.
 * @module
 */

import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch, newPerson } from "./browsers.js";
import { picture } from "./figures.js";
import { isBlack, isSilent, moves, receives } from "./media.js";
import { BACK_ENDS, startServer } from "./server.js";
import { serve } from "./static.js";
import { until } from "./until.js";

/** @typedef {import("./browsers.js").BrowserName} BrowserName */
/** @typedef {"ws" | "wss"} Scheme */
/** @typedef {{browser: BrowserName, scheme: Scheme, io: string, isBrief?: boolean}} Setting */

const SDK = join(dirname(fileURLToPath(import.meta.url)), "../node_modules/@flashphoner/websdk");
const DRIVER = fileURLToPath(new URL("./vendor-driver.js", import.meta.url));

/** The three examples. */
const PAGES = {
    conference: "conference/conference.html",
    twoWay: "video-chat/video-chat.html",
    screens: "video-chat-and-screen-sharing/video-chat-and-screen-sharing.html",
};

/**
 * Each browser, scheme and back end meets each other; not every triple of them does, which would show nothing
 * new. What the last one shows, the third shows too: `isBrief` leaves out all but the heart of it.
 * @type {Setting[]}
 */
const SETTINGS = [
    { browser: "chromium", scheme: "ws", io: BACK_ENDS[0] },
    { browser: "chromium", scheme: "wss", io: BACK_ENDS.at(-1) ?? "" },
    { browser: "firefox", scheme: "wss", io: BACK_ENDS[0] },
    { browser: "firefox", scheme: "ws", io: BACK_ENDS.at(-1) ?? "", isBrief: true },
];

/**
 * What the pages say without anything being wrong: their package lacks a font and an icon; a connection that
 * was pulled away is an error to the browser.
 */
const HARMLESS = [
    /\b404\b/,
    /favicon/,
    // The SDK unmutes its player when play() is answered, and does not look whether the stream was closed
    // meanwhile.
    /of null \(setting 'muted'\)|remoteVideo is null/,
];

/**
 * Describes the same in each setting, with one browser for all that have it.
 * @param {string} title
 * @param {{settings?: (setting: Setting) => boolean, server?: Parameters<typeof startServer>}} options
 * @param {(stage: Stage) => void} body
 */
export function onEachStage(title, { settings = ({ isBrief }) => !isBrief, server = [] }, body) {
    for (const name of /** @type {BrowserName[]} */ (["chromium", "firefox"])) {
        describe(`${title}, in ${name}`, () => {
            /** @type {import("puppeteer-core").Browser} */
            let browser;
            before(async () => { browser = await launch(name, { acceptInsecureCerts: true }); });
            after(() => browser?.close());
            for (const setting of SETTINGS.filter((one) => one.browser === name && settings(one))) {
                describe(`by ${setting.scheme} over ${setting.io}`, () => {
                    const stage = new Stage(setting);
                    before(() => stage.open(browser, server));
                    afterEach(() => stage.clear());
                    after(() => stage.close());
                    body(stage);
                });
            }
        });
    }
}

/**
 * A server of ours, the customer's web server beside it, and a browser. A page over https may open only wss.
 */
export class Stage {
    /** @type {import("./server.js").Server} */ // @ts-ignore Set before any test runs.
    server;
    /** @type {Awaited<ReturnType<typeof serve>>} */ // @ts-ignore Likewise.
    #pages;
    /** @type {import("puppeteer-core").Browser} */ // @ts-ignore Likewise.
    browser;
    /** @type {(import("puppeteer-core").Page & {problems: string[]})[]} */
    #people = [];

    /** @param {Setting} setting */
    constructor(setting) {
        this.setting = setting;
    }

    /** @param {import("puppeteer-core").Browser} browser @param {Parameters<typeof startServer>} [options] */
    async open(browser, [options, files] = []) {
        this.browser = browser;
        this.server = await startServer({ ...options, io: this.setting.io }, files);
        this.#pages = await serve(SDK, this.setting.scheme === "wss" ? await this.server.certificate() : undefined);
    }

    /** For the SDK. @param {number} [port] in place of the server's */
    address(port = this.setting.scheme === "wss" ? this.server.ports.https : this.server.ports.http) {
        return `${this.setting.scheme}://localhost:${port}/`;
    }

    async #newPage() {
        const page = await newPerson(this.browser);
        this.#people.push(page);
        return page;
    }

    /**
     * Somebody opens one of the examples and joins.
     * @param {keyof typeof PAGES} app
     * @param {{login: string, room: string, address?: string}} who
     */
    async join(app, { login, room, address = this.address() }) {
        const guest = new Guest(await this.#newPage(), login, address);
        await guest.page.goto(`${this.#pages.url}/examples/demo/streaming/${PAGES[app]}?roomName=${encodeURIComponent(room)}`);
        await guest.enter();
        return guest;
    }

    /** A page with nothing but the SDK and our driver in it. */
    async desk() {
        const page = await this.#newPage();
        await page.goto(`${this.#pages.url}/`);
        await page.addScriptTag({ url: `${this.#pages.url}/flashphoner-room-api.js` });
        await page.addScriptTag({ path: DRIVER });
        return new Desk(page, this.address());
    }

    /** Sends everybody home, whatever the test came to. */
    async clear() {
        const people = this.#people.splice(0);
        await Promise.all(people.map((page) => page.browserContext().close().catch(() => {}))); // One may have gone already.
        const problems = people.flatMap((page) => page.problems).filter((text) => !HARMLESS.some((one) => one.test(text)));
        assert.deepEqual(problems, []);
    }

    async close() {
        this.#pages?.close();
        await this.server?.stop();
    }
}

/** A person on one of the examples. */
export class Guest {
    /**
     * @param {import("puppeteer-core").Page & {problems: string[]}} page
     * @param {string} login
     * @param {string} address
     */
    constructor(page, login, address) {
        this.page = page;
        this.login = login;
        this.address = address;
    }

    /** Fills in the form and joins. */
    async enter() {
        await until("the page is ready", () => this.page.$eval("#url", (element) => /** @type {HTMLInputElement} */ (element).value));
        await this.page.evaluate((url, name) => {
            /** @type {any} */ (document.getElementById("url")).value = url;
            /** @type {any} */ (document.getElementById("login")).value = name;
        }, this.address, this.login);
        await this.press("joinBtn");
    }

    /** @param {string} id @returns {Promise<string>} */
    text(id) {
        return this.page.$eval(`#${id}`, (element) => element.textContent?.trim() ?? "");
    }

    /** Clicks a button once it can be clicked. @param {string} id */
    async press(id) {
        await until(`${this.login} can press #${id}`, () => this.page.$eval(`#${id}`, (element) => {
            const button = /** @type {HTMLButtonElement} */ (element);
            const isReady = !button.disabled; // The click itself may disable it.
            button.click();
            return isReady;
        }), { describe: () => this.#look() });
    }

    /** @param {Record<string, string>} expected texts by id */
    async shows(expected) {
        for (const [id, text] of Object.entries(expected)) {
            await until(`${this.login} sees ${text} in #${id}`, async () => (await this.text(id)) === text, { describe: () => this.#look() });
        }
    }

    async #look() {
        const ids = ["status", "localStatus", "participant1Name", "failedInfo", "chat"];
        return [...await Promise.all(ids.map((id) => this.text(id).catch(() => ""))), ...this.page.problems];
    }

    /** @param {string} text */
    async reads(text) {
        await until(`${this.login} reads ${text}`, async () => (await this.text("chat")).includes(text), { describe: () => this.#look() });
    }

    /** @param {string} message */
    async says(message) {
        await this.page.$eval("#message", (element, value) => { /** @type {any} */ (element).value = value; }, message);
        await this.press("sendMessageBtn");
    }

    /** Is connected and on the air. */
    async isIn() {
        await this.shows({ status: "ESTABLISHED", localStatus: "PUBLISHING" });
    }

    /** Moving pictures and voices of all of these. @param {string[]} displays */
    async receives(...displays) {
        await receives(this.page, displays.length);
        await this.hasPictures(...displays);
    }

    /** Moving pictures in all of these, with or without a voice. @param {string[]} displays */
    async hasPictures(...displays) {
        for (const id of displays) {
            await moves(this.page, `#${id} video`);
        }
    }

    /** Where a stream has ended, the SDK leaves an empty element. @param {string} display */
    async hasNoPicture(display) {
        await until(`nothing is in #${display}`, async () => await picture(this.page, `#${display} video`) === null);
    }

    /** Width and height of what is shown. @param {string} display @returns {Promise<string>} */
    size(display) {
        return this.page.$eval(`#${display} video`, (element) => {
            const { videoWidth, videoHeight } = /** @type {HTMLVideoElement} */ (element);
            return `${videoWidth}x${videoHeight}`;
        });
    }

    /** @param {string} display */
    async seesBlack(display) {
        await isBlack(this.page, `#${display} video`);
    }

    async hearsNothing() {
        await isSilent(this.page);
    }

    /** Closes the tab. */
    async close() {
        await this.page.browserContext().close();
    }
}

/** A page in which several people use the SDK, under a test's control. See vendor-driver.js. */
export class Desk {
    /** @param {import("puppeteer-core").Page & {problems: string[]}} page @param {string} address */
    constructor(page, address) {
        this.page = page;
        this.address = address;
    }

    /** @param {string} method of the driver @param {unknown[]} args @returns {Promise<any>} */
    call(method, ...args) {
        // Awaited there: the SDK's promises are of its own make, which not every driver of a browser knows.
        return this.page.evaluate(async (name, given) => await /** @type {any} */ (globalThis).driver[name](...given), method, args);
    }

    /** A session that is to work. @param {string} who @param {object} [options] of the SDK */
    async connect(who, options = {}) {
        assert.equal(await this.call("connect", who, { urlServer: this.address, ...options }), "ESTABLISHED");
    }

    /**
     * @param {string} who
     * @param {string} room
     * @returns {Promise<Record<string, string[]>>} names of streams by login
     */
    async join(who, room) {
        const { state, failed } = await this.call("join", who, room);
        assert.equal(failed, undefined);
        return state;
    }

    /**
     * @param {string} who
     * @param {string} room
     * @param {string} as what the test calls the stream
     * @param {object} [options]
     */
    async publish(who, room, as, options = {}) {
        assert.deepEqual(await this.call("publish", who, room, as, options), { status: "PUBLISHING" });
    }

    /**
     * Plays a stream of somebody who is there, once it is there.
     * @param {string} who
     * @param {string} room
     * @param {string} owner
     * @param {string} as
     * @param {object} [options]
     */
    async play(who, room, owner, as, options = {}) {
        await until(`${who} knows a stream of ${owner}`, async () => (await this.call("streamsOf", who, room, owner)).length > 0);
        assert.deepEqual(await this.call("play", who, room, owner, as, options), { status: "PLAYING" });
    }

    /**
     * Waits until somebody, or a stream, was told this.
     * @param {string} who @param {string} what @param {unknown} [about] everything, if absent
     */
    async hears(who, what, about) {
        const wanted = JSON.stringify(about);
        await until(`${who} hears ${what} ${wanted ?? ""}`, async () => (await this.notes(who, what)).some((one) => wanted === undefined || JSON.stringify(one) === wanted),
            { describe: () => this.call("notesOf", who) });
    }

    /** What they were told so far. @param {string} who @param {string} what @returns {Promise<unknown[]>} */
    notes(who, what) {
        return this.call("notesOf", who, what);
    }

    /**
     * Frames and voice of a stream that is played; `null`: whatever it is.
     * @param {string} as
     * @param {{video?: boolean, audio?: boolean}} [kinds]
     */
    async flows(as, { video = true, audio = true } = {}) {
        const describe = () => this.call("figures", as);
        const before = await this.call("figures", as);
        await until(`${as} flows`, async () => {
            const now = await this.call("figures", as);
            return (!video || now.frames >= before.frames + 20) && (!audio || now.energy > before.energy + 1e-5);
        }, { describe });
        const now = await this.call("figures", as);
        assert.deepEqual([now.frames > 0, now.energy > 0], [video, audio], "nothing that is not sent");
        if (video) {
            await moves(this.page, `[id="${now.element}"]`);
        }
    }
}
