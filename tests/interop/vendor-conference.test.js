/**
 * The vendor's Conference page against our server: the customers' pages change one address and nothing else.
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { layCable } from "./support/cable.js";
import { join as joinOurs } from "./support/conference.js";
import { until } from "./support/until.js";
import { onEachStage } from "./support/vendor.js";

/** Spaces, dashes, quotes and what is far from ASCII: names are names, and nothing is read out of them. */
const ALICE = "Алиса - «А-Б»", BOB = "bob b-2 🎈", CAROL = "卡罗尔 & co";

onEachStage("the vendor's Conference page", { settings: () => true }, (stage) => {
    /** @param {string[]} logins @param {string} room */
    async function gather(logins, room) {
        const people = [];
        for (const login of logins) {
            const guest = await stage.join("conference", { login, room });
            await guest.isIn();
            people.push(guest);
        }
        return people;
    }

    test("two tabs join, publish, play, chat, mute and leave", async () => {
        const room = "Комната 7 - a-b 🎈";
        const [alice, bob] = await gather([ALICE, BOB], room);
        assert.match(await alice.text("chat"), /room is empty/);
        assert.ok((await alice.text("inviteAddress")).endsWith(`?roomName=${room}`));
        await alice.reads(`${BOB} - joined`);
        await bob.reads(`participants: ${ALICE}`);
        await alice.shows({ participant1Name: BOB, participant1Btn: "Stop", participant1AudioState: "Unmuted" });
        await bob.shows({ participant1Name: ALICE, participant1Btn: "Stop", participant1AudioState: "Unmuted" });
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);

        await alice.says("Привет 👋🏽 \\ \"как\" дела?");
        await bob.reads(`${ALICE} - Привет 👋🏽 \\ "как" дела?`);
        await bob.says("и тебе 🏳️‍🌈");
        await alice.reads(`${BOB} - и тебе 🏳️‍🌈`);

        await alice.press("localAudioToggle");
        await alice.press("localVideoToggle");
        await alice.shows({ localAudioToggle: "Unmute A", localVideoToggle: "Unmute V" });
        await Promise.all([bob.hearsNothing(), bob.seesBlack("participant1Display")]);
        await alice.receives("participant1Display");
        await alice.press("localAudioToggle");
        await alice.press("localVideoToggle");
        await bob.receives("participant1Display");

        await bob.press("participant1AudioBtn");
        await bob.shows({ participant1AudioState: "Muted" });
        await bob.press("participant1AudioBtn");
        await bob.shows({ participant1AudioState: "Unmuted" });

        await bob.press("joinBtn");
        await alice.reads(`${BOB} - left`);
        await alice.shows({ participant1Name: "NONE" });
        await bob.shows({ joinBtn: "Join", localStatus: "UNPUBLISHED" });
    });

    if (stage.setting.isBrief) {
        return;
    }

    test("what is stopped can be played again, what is unpublished can be published again", async () => {
        const [alice, bob] = await gather([ALICE, BOB], "again");
        await bob.receives("participant1Display");
        await bob.press("participant1Btn");
        await bob.shows({ participant1Btn: "Play", participant1AudioState: "" });
        await alice.receives("participant1Display");
        await bob.press("participant1Btn");
        await bob.shows({ participant1Btn: "Stop" });
        await bob.receives("participant1Display");

        await alice.press("localStopBtn");
        await alice.shows({ localStatus: "UNPUBLISHED", localStopBtn: "Publish" });
        await bob.shows({ participant1Btn: "Play", participant1Name: ALICE });
        await alice.press("localStopBtn");
        await alice.shows({ localStatus: "PUBLISHING" });
        await bob.shows({ participant1Btn: "Stop" });
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
    });

    test("who leaves and joins in the same moment is in again", async () => {
        const [alice, bob] = await gather([ALICE, BOB], "a-b - c");
        await bob.page.evaluate(joinAgainAtOnce, 3);
        await bob.press("joinBtn");
        await until("he was there three times more", async () => count(await alice.text("chat"), `${BOB} - joined`) === 4);
        assert.equal(count(await alice.text("chat"), `${BOB} - left`), 3);
        await bob.isIn();
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
    });

    test("a tab that is reloaded comes back, one that is closed is gone", async () => {
        const [alice, bob] = await gather([ALICE, BOB], "reload");
        await alice.receives("participant1Display");
        await bob.page.reload();
        await alice.reads(`${BOB} - left`);
        await alice.shows({ participant1Name: "NONE" });
        await bob.enter();
        await bob.isIn();
        await alice.shows({ participant1Name: BOB });
        await Promise.all([alice.receives("participant1Display"), bob.receives("participant1Display")]);
        await bob.close();
        await alice.shows({ participant1Name: "NONE" });
        assert.equal(count(await alice.text("chat"), `${BOB} - left`), 2);
    });

    test("three see and hear each other, and the page lets no fourth in", async () => {
        const people = await gather([ALICE, BOB, CAROL], "three");
        const [alice, bob, carol] = people;
        await alice.shows({ participant1Name: BOB, participant2Name: CAROL });
        await carol.reads(`participants: ${ALICE},${BOB}`);
        for (const person of people) {
            await person.receives("participant1Display", "participant2Display");
        }
        await carol.says("всем 📣");
        await Promise.all([alice, bob].map((person) => person.reads(`${CAROL} - всем 📣`)));

        const dave = await stage.join("conference", { login: "dave", room: "three" });
        await dave.shows({ failedInfo: "Current room is full.", joinBtn: "Join" });
        await Promise.all(people.map((person) => person.reads("dave - left")));

        await bob.close();
        await Promise.all([alice, carol].map((person) => person.reads(`${BOB} - left`)));
        await dave.press("joinBtn");
        await dave.isIn();
        await dave.receives("participant1Display", "participant2Display");
    });

    test("a login that is there already is refused in the vendor's words", async () => {
        const [alice] = await gather([ALICE], "twins");
        const twin = await stage.join("conference", { login: ALICE, room: "twins" });
        await twin.shows({ failedInfo: "Room already has user with such login", status: "DISCONNECTED" });
        await alice.isIn();
        assert.doesNotMatch(await alice.text("chat"), /joined/);
    });

    test("a login whose tab has fallen silent is free, and the old one's streams end", async () => {
        const cable = await layCable(stage.server.ports[stage.setting.scheme === "wss" ? "https" : "http"]);
        try {
            const [bob] = await gather([BOB], "silent");
            const silent = await stage.join("conference", { login: ALICE, room: "silent", address: stage.address(cable.port) });
            await silent.isIn();
            await bob.receives("participant1Display");
            cable.pull();
            // A page that hangs goes on sending, and keeps its login; this one has stopped altogether.
            // Taking the tracks from the senders is not enough in Firefox.
            await silent.page.evaluate(() => globalThis.__connections.forEach((connection) => connection.close()));
            const back = await stage.join("conference", { login: ALICE, room: "silent" });
            await back.isIn();
            assert.equal(count(await bob.text("chat"), `${ALICE} - left`), 1);
            assert.equal(count(await bob.text("chat"), `${ALICE} - joined`), 2);
            await Promise.all([bob.receives("participant1Display"), back.receives("participant1Display")]);
            await silent.shows({ status: "ESTABLISHED" }); // It still believes so.
        } finally {
            cable.close();
        }
    });

    test("a page of the vendor and one of ours meet in one room", async () => {
        const [theirs] = await gather(["vendor"], "both");
        const ours = await joinOurs(stage.browser, stage.server, { login: "Ours", room: "both" });
        try {
            await ours.inCall();
            await theirs.shows({ participant1Name: "Ours" });
            await Promise.all([theirs.receives("participant1Display"), ours.receivesMedia()]);
            await ours.say("Привет 🎈");
            await theirs.reads("Ours - Привет 🎈");
            await ours.click("leaveBtn");
            await theirs.shows({ participant1Name: "NONE" });
        } finally {
            await ours.close();
        }
    });
});

/** Runs in the page: clicks Join in the very turn in which it can be clicked after a leave, so many times. */
function joinAgainAtOnce(/** @type {number} */ times) {
    const button = /** @type {HTMLButtonElement} */ (document.getElementById("joinBtn"));
    let left = times;
    const watch = () => {
        if (!button.disabled && button.textContent === "Join") {
            left -= 1;
            button.click();
        } else if (!button.disabled && left > 0 && document.getElementById("localStatus")?.textContent === "PUBLISHING") {
            button.click(); // Leaves again.
        }
    };
    new MutationObserver(watch).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["disabled"] });
}

/** @param {string} text @param {string} part */
function count(text, part) {
    return text.split(part).length - 1;
}
