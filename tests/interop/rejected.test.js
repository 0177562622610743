/**
 * What a browser cannot have does not cost it the rest: who has no codec for the picture hears the sound, who
 * can send no picture is heard, and the pages say so.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { Person, join } from "./support/conference.js";
import { figures, received } from "./support/figures.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

const WHY = "There is no codec for it that both sides have.";

for (const name of /** @type {const} */ (["chromium", "firefox"])) {
    describe(`m-lines that are rejected, in ${name}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("puppeteer-core").Browser} */
        let browser;

        before(async () => {
            [server, browser] = await Promise.all([startServer(), launch(name)]);
        });
        after(async () => {
            await browser?.close();
            await server?.stop();
        });

        test("a player without the picture's codec hears the sound, and its page says what it misses", async () => {
            const alice = await join(browser, server, { login: "alice", room: "ears" });
            await alice.sees("localStatus", "PUBLISHING");
            const bob = await joinWithoutOurVideo("bob", "ears", "recvonly");
            await Promise.all([alice.inCall(), bob.inCall()]);
            await bob.hears(`The picture of alice cannot be played: ${WHY}`);
            await hearsOnly(bob);
            // Of bob, who only cannot play it, she misses nothing.
            await alice.receivesMedia();
            assert.deepEqual(alice.page.problems, []);
            await Promise.all([alice.close(), bob.close()]);
        });

        test("a publisher without a codec of the room's is heard, and everybody is told that there is no picture", async () => {
            const alice = await joinWithoutOurVideo("alice", "voice", "sendonly");
            await alice.sees("localStatus", "PUBLISHING");
            await alice.hears(`Your picture is not sent: ${WHY}`);
            const bob = await join(browser, server, { login: "bob", room: "voice" });
            await Promise.all([alice.inCall(), bob.inCall()]);
            await hearsOnly(bob);
            const sdk = await bob.page.evaluate(async (urlServer) => {
                // Seen from the SDK, by somebody who comes later still.
                const { connect, SESSION_STATUS, ROOM_EVENT } = await import(/** @type {any} */ ("/sdk/index.js"));
                const session = connect({ urlServer, username: "carol" });
                await new Promise((resolve) => session.on(SESSION_STATUS.ESTABLISHED, resolve));
                const room = session.join({ name: "voice" });
                await new Promise((resolve) => room.on(ROOM_EVENT.STATE, resolve));
                const all = room.getParticipants().flatMap((one) => one.getStreams());
                const has = Object.fromEntries(all.map((stream) => [stream.owner(), [stream.hasAudio(), stream.hasVideo()]]));
                session.disconnect();
                return has;
            }, server.ws);
            assert.deepEqual(sdk, { alice: [true, false], bob: [true, true] });
            await Promise.all([alice.close(), bob.close()]);
        });

        /**
         * Somebody whose browser has other video codecs than ours only, in this direction.
         * @param {string} login
         * @param {string} room
         * @param {RTCRtpTransceiverDirection} direction
         */
        async function joinWithoutOurVideo(login, room, direction) {
            const page = await newPerson(browser);
            await page.evaluateOnNewDocument((unable) => {
                const original = RTCPeerConnection.prototype.addTransceiver;
                RTCPeerConnection.prototype.addTransceiver = function addTransceiver(what, init) {
                    const transceiver = original.call(this, what, init);
                    if ((what === "video" || /** @type {any} */ (what).kind === "video") && init?.direction === unable) {
                        const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
                        transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => /VP9|AV1/.test(mimeType)));
                    }
                    return transceiver;
                };
            }, direction);
            const person = new Person(page, login);
            await page.goto(`${server.http}/demo/conference/?roomName=${room}`);
            await page.type("#login", login);
            await person.click("joinBtn");
            return person;
        }
    });
}

/** @param {Person} person */
async function hearsOnly(person) {
    const describe = () => person.look();
    const before = await received(person.page);
    await until(`${person.login} hears something`, async () => (await received(person.page)).energy > before.energy, { describe });
    const playing = (await figures(person.page)).filter(({ receives }) => receives);
    assert.deepEqual(playing.map(({ video }) => [video.framesDecoded, video.bytes]), [[0, 0]]);
}
