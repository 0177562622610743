/**
 * The vendor's two pages for two people, with and without a shared screen, against our server.
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./support/until.js";
import { onEachStage } from "./support/vendor.js";

/** @typedef {import("./support/vendor.js").Guest} Guest */

const ALICE = "Алиса А", BOB = "bob - 🎈";

onEachStage("the vendor's pages for two", {}, (stage) => {
    /** @param {"twoWay" | "screens"} app @param {string} room */
    async function pair(app, room) {
        const alice = await stage.join(app, { login: ALICE, room });
        await alice.isIn();
        const bob = await stage.join(app, { login: BOB, room });
        await bob.isIn();
        return [alice, bob];
    }

    /** What both pages can do, from a chat to a leave. @param {Guest} alice @param {Guest} bob */
    async function talk(alice, bob) {
        await alice.shows({ participant1Name: BOB });
        await bob.shows({ participant1Name: ALICE });
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
        await alice.says("Привет 🎉");
        await bob.reads(`${ALICE} - Привет 🎉`);
        await bob.says("и тебе");
        await alice.reads(`${BOB} - и тебе`);

        await bob.press("localAudioToggle");
        await bob.press("localVideoToggle");
        await Promise.all([alice.hearsNothing(), alice.seesBlack("participant1Display")]);
        await bob.press("localAudioToggle");
        await bob.press("localVideoToggle");
        await alice.receives("participant1Display");

        await bob.press("localStopBtn");
        await bob.shows({ localStatus: "UNPUBLISHED" });
        await bob.press("localStopBtn");
        await bob.shows({ localStatus: "PUBLISHING" });
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
    }

    /** @param {Guest} alice @param {Guest} bob */
    async function part(alice, bob) {
        await bob.press("joinBtn");
        await alice.reads(`${BOB} - left`);
        await alice.shows({ participant1Name: "NONE" });
        await bob.shows({ joinBtn: "Join" });
        await bob.press("joinBtn");
        await bob.isIn();
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
        await bob.close();
        await alice.shows({ participant1Name: "NONE" });
    }

    test("Two Way Video Chat: two talk, and the page lets no third in", async () => {
        const [alice, bob] = await pair("twoWay", "пара - 1");
        await talk(alice, bob);
        await bob.press("participant1Btn");
        await bob.shows({ participant1Btn: "Play" });
        await bob.press("participant1Btn");
        await bob.shows({ participant1Btn: "Stop", participant1AudioState: "Unmuted" });
        await bob.receives("participant1Display");
        const third = await stage.join("twoWay", { login: "third", room: "пара - 1" });
        await third.shows({ failedInfo: "Current room is full.", joinBtn: "Join" });
        await alice.reads("third - left");
        await alice.receives("participant1Display");
        await part(alice, bob);
    });

    test("Screen Sharing: two talk as well", async () => {
        const [alice, bob] = await pair("screens", "экраны");
        await talk(alice, bob);
        await part(alice, bob);
    });

    if (stage.setting.browser === "firefox") {
        test("Screen Sharing: where there is no screen, sharing fails in the page and all else goes on", async () => {
            const [alice, bob] = await pair("screens", "no screen");
            await bob.receives("participant1Display");
            await alice.page.bringToFront(); // Firefox lets a page in the background wait with this.
            await alice.press("shareBtn");
            await until("she may try again", () => alice.page.$eval("#shareBtn", (element) => !(/** @type {HTMLButtonElement} */ (element).disabled)));
            await alice.shows({ shareBtn: "Share" });
            await alice.says("нет экрана");
            await bob.reads(`${ALICE} - нет экрана`);
            await bob.hasNoPicture("sharedDisplay");
            await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
        });
        return;
    }

    test("Screen Sharing: a screen is seen, by a late joiner as well, and ends by button or by the browser's own", async () => {
        const alice = await stage.join("screens", { login: ALICE, room: "screen - 1" });
        await alice.isIn();
        await alice.press("shareBtn");
        await alice.shows({ shareBtn: "Unshare" });
        const bob = await stage.join("screens", { login: BOB, room: "screen - 1" });
        await bob.isIn();
        await bob.hasPictures("participant1Display", "sharedDisplay");
        assert.notEqual(await bob.size("sharedDisplay"), await bob.size("participant1Display"));

        await alice.press("shareBtn");
        await alice.shows({ shareBtn: "Share" });
        await bob.hasNoPicture("sharedDisplay");
        await bob.receives("participant1Display");

        await bob.press("shareBtn");
        await alice.hasPictures("participant1Display", "sharedDisplay");
        await bob.page.$eval("#preview video", (element) => {
            const [track] = /** @type {MediaStream} */ (/** @type {HTMLVideoElement} */ (element).srcObject).getVideoTracks();
            track.stop();
            track.dispatchEvent(new Event("ended")); // As the browser does after its own "Stop sharing".
        });
        await bob.shows({ shareBtn: "Share" });
        await alice.hasNoPicture("sharedDisplay");
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
    });
});
