/**
 * The other demo pages, and what all of them share: a talk of two, a shared screen, a gallery, other devices,
 * words for what went wrong. Pictures are judged by what is decoded.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { Person, join, open } from "./support/conference.js";
import { picture, received } from "./support/figures.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

const SCREENS = "screen-sharing";
const TWO = "two-way-video-chat";

describe("the demo pages", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    /** @type {import("puppeteer-core").Browser} */
    let browser;

    before(async () => {
        [server, browser] = await Promise.all([startServer(), launch("chromium")]);
    });
    after(async () => {
        await browser?.close();
        await server?.stop();
    });

    /** @param {Person[]} people */
    async function goodbye(...people) {
        people.forEach((person) => person.assertNoProblems());
        await Promise.all(people.map((person) => person.close()));
    }

    test("the index leads to all three", async () => {
        const page = await newPerson(browser);
        for (const app of ["conference", TWO, SCREENS]) {
            await page.goto(server.http);
            await Promise.all([page.waitForNavigation(), page.click(`a[href="demo/${app}/"]`)]);
            await page.waitForSelector("#joinForm");
        }
        assert.deepEqual(page.problems, []);
        await page.browserContext().close();
    });

    test("two talk, the other big and oneself small; the third is told why not, and nobody sees it", async () => {
        const [alice, boris] = [await join(browser, server, { login: "Алиса", room: "пара" }, TWO), await join(browser, server, { login: "Boris <b>", room: "пара" }, TWO)];
        await Promise.all([alice.inCall(), boris.inCall()]);
        await Promise.all([alice.receivesMedia(), boris.receivesMedia()]);
        const [other, own] = await Promise.all(["participant1", "local"].map((id) => area(alice, id)));
        assert.ok(other > 4 * own, `${other} and ${own} square pixels`);
        await alice.hears("room is empty");
        await boris.hears("participants: Алиса");

        const third = await join(browser, server, { login: "third", room: "пара" }, TWO);
        await third.sees("failedInfo", "Current room is full: this page is for two, and two people are in it.");
        await third.sees("status", "DISCONNECTED");
        const lines = [...await alice.lines(), ...await boris.lines()];
        assert.equal(lines.some((line) => line.includes("third")), false, "nobody saw it come and go");
        await alice.sees("participant1Name", "Boris <b>");
        await boris.click("publishBtn");
        await alice.sees("participant1Status", "UNPUBLISHED");
        await boris.sees("localStatus", "UNPUBLISHED");
        await boris.click("publishBtn");
        await Promise.all([alice.inCall(), boris.inCall()]);
        await alice.receivesMedia();
        await goodbye(alice, boris, third);
    });

    test("a shared screen is seen, by a late joiner as well, and ends by button or by the browser's own", async () => {
        const alice = await join(browser, server, { login: "alice", room: "screens" }, SCREENS);
        await alice.sees("localStatus", "PUBLISHING");
        await alice.click("shareBtn");
        await alice.sees("localScreenStatus", "PUBLISHING");
        const boris = await join(browser, server, { login: "boris", room: "screens" }, SCREENS);
        await Promise.all([alice.inCall(), boris.inCall()]);
        await boris.sees("participantScreenStatus", "PLAYING");
        await boris.sees("participantScreenName", "alice shares");
        const [camera, screen] = await Promise.all(["participant1", "participantScreen"].map((id) => moves(boris, id)));
        assert.equal(camera, "640x480");
        assert.notEqual(screen, camera);
        assert.ok((await area(boris, "participantScreen")) > 4 * (await area(boris, "participant1")));

        await alice.click("shareBtn");
        await boris.sees("participantScreenName", "NONE");
        assert.equal(await boris.page.$eval("#screens", (element) => /** @type {HTMLElement} */ (element).hidden), true);
        await alice.sees("localScreenStatus", "NONE");

        await boris.click("shareBtn");
        await alice.sees("participantScreenStatus", "PLAYING");
        await moves(alice, "participantScreen");
        await boris.page.$eval("#localScreenDisplay video", (element) => {
            const [track] = /** @type {MediaStream} */ (/** @type {HTMLVideoElement} */ (element).srcObject).getVideoTracks();
            track.stop();
            track.dispatchEvent(new Event("ended")); // As the browser does after its own "Stop sharing".
        });
        await alice.sees("participantScreenName", "NONE");
        await until("his button offers to share again", async () => (await boris.text("shareBtn")) === "Share screen");
        await Promise.all([alice.inCall(), boris.inCall()]);
        await goodbye(alice, boris);
    });

    test("a screen with its sound, and one that is refused", async () => {
        const page = await open(browser, server, "sound", SCREENS);
        const person = new Person(page, "person");
        await page.evaluateOnNewDocument(() => {
            const Devices = /** @type {any} */ (MediaDevices).prototype;
            Devices.getDisplayMedia = async (/** @type {any} */ wanted) => {
                Object.assign(globalThis, { __wanted: wanted });
                throw new DOMException("no", "NotAllowedError");
            };
        });
        await page.reload();
        await page.type("#login", "person");
        await person.click("joinBtn");
        await person.sees("localStatus", "PUBLISHING");
        await person.click("withSound");
        await person.click("shareBtn");
        await person.hears("The screen is not shared: that was not allowed.");
        const wanted = await page.evaluate(() => /** @type {any} */ (globalThis).__wanted);
        assert.equal(wanted.audio, true);
        assert.equal("type" in wanted.video, false);
        assert.equal(await person.text("shareBtn"), "Share screen");
        await person.sees("localStatus", "PUBLISHING");
        await goodbye(person);
    });

    test("five people, and a screen among them, are a gallery", async () => {
        const first = await join(browser, server, { login: "one", room: "gallery" }, "conference");
        await first.sees("localStatus", "PUBLISHING");
        const crowd = await newPerson(browser);
        await crowd.goto(server.http);
        await crowd.evaluate(publishColours, server.ws, "gallery", { two: "#c00", three: "#0c0", four: "#00c", five: "#cc0" }, "five");
        await first.inCall(5);
        const shown = new Map();
        for (let slot = 1; slot <= 5; slot += 1) {
            const selector = `#participant${slot}Display video`;
            await until(`there is a picture in slot ${slot}`, async () => ((await picture(first.page, selector))?.brightness ?? 0) > 5);
            shown.set(await first.text(`participant${slot}Name`), await colour(first, selector));
        }
        assert.deepEqual(Object.fromEntries(shown), { two: "red", three: "green", four: "blue", five: "red+green", "five (screen)": "red+green+blue" });
        const boxes = await first.page.$$eval(".tile:not(.empty)", (tiles) => tiles.map((tile) => tile.getBoundingClientRect().toJSON()));
        assert.equal(boxes.length, 6);
        for (const [index, box] of boxes.entries()) {
            assert.ok(box.width > 150 && box.height > 100, "each is large enough");
            assert.ok(boxes.every((other, at) => at === index || other.left >= box.right || other.right <= box.left || other.top >= box.bottom || other.bottom <= box.top), "none covers another");
        }
        await crowd.browserContext().close();
        await until("they are gone", async () => (await first.page.$$(".tile:not(.empty)")).length === 1);
        await goodbye(first);
    });

    test("another camera and microphone, before and during a call, are used and remembered", async () => {
        const page = await open(browser, server, "devices", TWO);
        const person = new Person(page, "picker");
        await person.click("checkBtn");
        await until("there is a trial picture", () => page.$eval("#trial", (video) => /** @type {HTMLVideoElement} */ (video).videoWidth > 0));
        const microphones = await page.$$eval("#microphone option", (options) => options.map((option) => /** @type {HTMLOptionElement} */ (option).value));
        assert.ok(microphones.length > 1, "the browser makes up several microphones");
        await until("the level moves", () => page.$eval("#trialLevel", (meter) => /** @type {HTMLMeterElement} */ (meter).value > 0.05));
        await page.select("#microphone", microphones.at(-1) ?? "");
        assert.equal(await page.evaluate(() => localStorage.getItem("ringvox.microphone")), microphones.at(-1));
        await person.click("devicesDone");
        await until("the trial is over", () => page.$eval("#trial", (video) => /** @type {HTMLVideoElement} */ (video).srcObject === null));

        await page.type("#login", "picker");
        await person.click("joinBtn");
        await person.sees("localStatus", "PUBLISHING");
        const uses = (/** @type {"audio" | "video"} */ kind) => page.$eval("#localDisplay video", (video, which) =>
            /** @type {MediaStream} */ (/** @type {HTMLVideoElement} */ (video).srcObject).getTracks().find((track) => track.kind === which)?.getSettings().deviceId, kind);
        assert.equal(await uses("audio"), microphones.at(-1), "remembered");

        const other = await join(browser, server, { login: "other", room: "devices" }, TWO);
        await Promise.all([other.inCall(), person.inCall()]);
        await person.click("muteAudio");
        await person.click("devicesBtn");
        await until("the devices are listed", async () => (await page.$$("#camera option")).length > 1);
        const before = await uses("video");
        const cameras = await page.$$eval("#camera option", (options) => options.map((option) => /** @type {HTMLOptionElement} */ (option).value));
        const next = cameras.at(-1) ?? "";
        assert.notEqual(next, before);
        const connections = await page.evaluate(() => globalThis.__connections.length);
        await page.select("#camera", next);
        await page.select("#microphone", microphones[0]);
        await until("both are used", async () => (await uses("video")) === next && (await uses("audio")) === microphones[0]);
        assert.equal(await page.evaluate(() => globalThis.__connections.length), connections, "nothing was begun anew");
        assert.equal(await page.$eval("#localDisplay video", (video) =>
            /** @type {MediaStream} */ (/** @type {HTMLVideoElement} */ (video).srcObject).getAudioTracks()[0].enabled), false, "still muted");
        await person.click("devicesDone");
        await person.click("muteAudio");
        await other.receivesMedia();
        await goodbye(person, other);
    });

    test("a remembered device that is gone is forgotten", async () => {
        const page = await open(browser, server, "gone", TWO);
        await page.evaluate(() => localStorage.setItem("ringvox.camera", "unplugged"));
        const person = new Person(page, "person");
        await page.type("#login", "person");
        await person.click("joinBtn");
        await person.sees("localStatus", "PUBLISHING");
        assert.equal(await page.evaluate(() => localStorage.getItem("ringvox.camera")), "");
        await goodbye(person);
    });

    test("a camera that another program uses does not silence the microphone", async () => {
        const page = await open(browser, server, "busy", TWO);
        await page.evaluateOnNewDocument(() => {
            const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = (wanted) => wanted?.video ? Promise.reject(new DOMException("busy", "NotReadableError")) : original(wanted);
        });
        await page.reload();
        const person = new Person(page, "voice");
        await page.type("#login", "voice");
        await person.click("joinBtn");
        await person.hears("Your camera cannot be used: others hear you, but do not see you.");
        await person.sees("localStatus", "PUBLISHING");
        const other = await join(browser, server, { login: "other", room: "busy" }, TWO);
        await other.inCall();
        const before = await received(other.page);
        await until("the voice is heard", async () => (await received(other.page)).energy > before.energy);
        await goodbye(person, other);
    });

    test("a login that is taken is told in words, as are lost and regained connections", async () => {
        const own = await startServer();
        try {
            const first = await join(browser, own, { login: "same", room: "twice" }, SCREENS);
            await first.sees("localStatus", "PUBLISHING");
            const second = await join(browser, own, { login: "same", room: "twice" }, SCREENS);
            await second.sees("failedInfo", "Somebody with this name is in the room already. Choose another name.");
            await second.close();
            await until("the connection is called perfect", () => first.page.$eval("#local .signal", (element) => element.getAttribute("aria-label") === "Connection perfect"));
            await own.crash();
            await first.sees("banner", "The connection to the server is lost. Trying to come back… Pictures and sound go on where they can.");
            await own.start();
            await first.sees("banner", "");
            await first.hears("connected again");
            await first.sees("localStatus", "PUBLISHING");
            await first.close();
        } finally {
            await own.stop();
        }
    });

    test("who asks a server that records nothing to record is told", async () => {
        const words = "This room is not recorded: somebody else opened it, or this server records nothing.";
        for (const app of ["conference", TWO, SCREENS]) {
            const person = new Person(await open(browser, server, "record", app), app);
            await person.page.type("#login", app);
            await person.click("record");
            await person.click("joinBtn");
            await person.hears(words);
            assert.equal(await person.text("recording"), "");
            await goodbye(person);
        }
    });
});

/** Square pixels of a tile. @param {Person} person @param {string} id */
function area(person, id) {
    return person.page.$eval(`#${id}`, (element) => element.clientWidth * element.clientHeight);
}

/** Waits for moving pictures in a tile and returns their size. @param {Person} person @param {string} id */
async function moves(person, id) {
    const selector = `#${id}Display video`;
    const first = await until(`${person.login} has a picture in #${id}`, async () => {
        const now = await picture(person.page, selector);
        return now && now.brightness > 16 ? now : null;
    });
    await until(`the picture in #${id} moves`, async () => (await picture(person.page, selector))?.print !== first.print);
    return person.page.$eval(selector, (element) => {
        const { videoWidth, videoHeight } = /** @type {HTMLVideoElement} */ (element);
        return `${videoWidth}x${videoHeight}`;
    });
}

/** Which of red, green and blue a picture is full of. @param {Person} person @param {string} selector */
async function colour(person, selector) {
    const bytes = ((await picture(person.page, selector))?.print ?? "").split(",").map(Number);
    const mean = (/** @type {number} */ channel) => bytes.filter((_, index) => index % 3 === channel).reduce((sum, value) => sum + value, 0) / (bytes.length / 3);
    return ["red", "green", "blue"].filter((_, channel) => mean(channel) > 100).join("+");
}

/** In a page of its own: people who publish one colour each, and one of them a white screen besides. */
async function publishColours(/** @type {string} */ url, /** @type {string} */ name, /** @type {Record<string, string>} */ people, /** @type {string} */ sharer) {
    const { connect, SESSION_STATUS, STREAM_STATUS } = await import(/** @type {any} */ ("/sdk/index.js"));
    const paint = (/** @type {string} */ fill) => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
        const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        let turn = 0;
        setInterval(() => {
            context.fillStyle = fill;
            context.fillRect(0, 0, 320, 240);
            context.fillStyle = "#888";
            context.fillRect((turn += 4) % 300, 110, 20, 20);
        }, 100);
        return canvas.captureStream(10);
    };
    for (const [username, fill] of Object.entries(people)) {
        const session = connect({ urlServer: url, username });
        await new Promise((resolve) => session.on(SESSION_STATUS.ESTABLISHED, resolve));
        const room = session.join({ name });
        await new Promise((resolve) => room.on("STATE", resolve));
        const streams = [room.publish({ mediaStream: paint(fill) })];
        await new Promise((resolve) => streams[0].on(STREAM_STATUS.PUBLISHING, resolve));
        username === sharer && room.publish({ mediaStream: paint("#eee"), name: "screenShare" });
    }
}
