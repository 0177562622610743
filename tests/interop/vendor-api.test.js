/**
 * The vendor's bundle (`flashphoner-room-api.js`), unmodified, in a page of its own: what RoomApi and the
 * core beneath it can do and none of the examples has a button for.
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachStage } from "./support/vendor.js";

onEachStage("the vendor's RoomApi", {}, (stage) => {
    /** One page with everybody in a room. @param {string} room @param {string[]} people */
    async function gather(room, ...people) {
        const desk = await stage.desk();
        for (const who of people) {
            await desk.connect(who);
            await desk.join(who, room);
        }
        return desk;
    }

    test("one connection is in several rooms, and leaves one of them", async () => {
        const [first, second] = ["первая", "the second - 2"];
        const desk = await gather(first, "alice", "bob");
        await desk.connect("carol");
        assert.deepEqual(await desk.join("carol", second), {});
        assert.deepEqual(await desk.join("alice", second), { carol: [] });
        await desk.publish("alice", first, "in the first");
        await desk.publish("alice", second, "in the second");
        await desk.play("bob", first, "alice", "to bob");
        await desk.play("carol", second, "alice", "to carol");
        await Promise.all([desk.flows("to bob"), desk.flows("to carol")]);
        await desk.call("say", "alice", second, "carol", "только сюда");
        await desk.hears("carol", "MESSAGE", { room: second, from: "alice", text: "только сюда" });
        assert.deepEqual(await desk.notes("bob", "MESSAGE"), []);

        assert.equal(await desk.call("leave", "alice", first), "left");
        await desk.hears("to bob", "STOPPED", "Stopped by publisher stop");
        await desk.hears("bob", "LEFT", `alice in ${first}`);
        await desk.hears("in the first", "UNPUBLISHED");
        await desk.flows("to carol");

        for (let round = 0; round < 10; round += 1) {
            assert.deepEqual(await desk.join("alice", first), { bob: [] });
            assert.equal(await desk.call("leave", "alice", first), "left");
        }
        assert.deepEqual(await desk.join("alice", first), { bob: [] });
        await desk.publish("alice", first, "in the first again");
        await desk.play("bob", first, "alice", "to bob again");
        await Promise.all([desk.flows("to bob again"), desk.flows("to carol")]);
    });

    test("streams of sound alone and of pictures alone are played as they are", async () => {
        const desk = await gather("kinds", "voice", "camera", "listener");
        await desk.publish("voice", "kinds", "sound", { constraints: { audio: true, video: false } });
        await desk.publish("camera", "kinds", "pictures", { constraints: { audio: false, video: true } });
        await desk.play("listener", "kinds", "voice", "heard");
        await desk.play("listener", "kinds", "camera", "seen");
        await desk.flows("heard", { video: false });
        await desk.flows("seen", { audio: false });
        await desk.play("voice", "kinds", "camera", "half", { constraints: { audio: false, video: true } });
        await desk.flows("half", { audio: false });
    });

    test("available() tells what can be played, to those who may play it", async () => {
        const desk = await gather("shop", "alice", "bob");
        await desk.connect("stranger");
        await desk.join("stranger", "elsewhere");
        await desk.publish("alice", "shop", "camera", { name: "к - 1" });
        const name = await desk.call("stream", "camera", "name");
        assert.equal(await desk.call("available", "bob", name), true);
        assert.equal(await desk.call("available", "bob", `${name}x`), false);
        assert.equal(await desk.call("available", "stranger", name), false);
        await desk.call("stream", "camera", "stop");
        await desk.hears("camera", "UNPUBLISHED", "Stopped by user");
        assert.equal(await desk.call("available", "bob", name), false);
    });

    test("players are told of mutes, those who come later too, and of data", async () => {
        const desk = await gather("notes", "alice", "bob", "carol");
        await desk.publish("alice", "notes", "camera");
        await desk.play("bob", "notes", "alice", "to bob");
        assert.deepEqual(await states("to bob"), [{ muted: false }, { muted: false }]);
        await desk.call("stream", "camera", "muteAudio");
        await desk.call("stream", "camera", "muteVideo");
        await desk.hears("to bob", "audioMuted");
        await desk.hears("to bob", "videoMuted");
        await desk.play("carol", "notes", "alice", "to carol");
        assert.deepEqual(await states("to carol"), [{ muted: true }, { muted: true }]);

        await desk.call("stream", "camera", "unmuteAudio");
        for (const player of ["to bob", "to carol"]) {
            await desk.hears(player, "audioUnmuted");
        }
        await desk.play("carol", "notes", "alice", "to carol again");
        assert.deepEqual(await states("to carol again"), [{ muted: false }, { muted: true }]);
        await desk.call("stream", "camera", "unmuteVideo");
        const data = { "ключ": ["🎈", 1.5, null, { deep: { er: true } }], empty: "" };
        await desk.call("stream", "camera", "sendData", data);
        for (const player of ["to bob", "to carol", "to carol again"]) {
            await desk.hears(player, "videoUnmuted");
            await desk.hears(player, "data", data);
        }
        await desk.flows("to carol again");
        assert.deepEqual(await desk.notes("camera", "data"), [], "the publisher hears nothing of its own");

        /** @param {string} as @returns {Promise<object[]>} */
        async function states(as) {
            return [await desk.call("stream", as, "getAudioState"), await desk.call("stream", as, "getVideoState")];
        }
    });

    test("chat carries any text and value, to one person, and tells the sender when it does not arrive", async () => {
        const desk = await gather("chat", "Алиса А-Б", "боб", "carol");
        const texts = ["", "строка 1\r\nстрока 2\t👩‍👩‍👧‍👦", "%D0%9F \\u0041 &amp; <b>", "длинная ".repeat(2000), 42, { a: ["ж", null] }, false];
        for (const text of texts) {
            await desk.call("say", "Алиса А-Б", "chat", "боб", text);
        }
        await desk.hears("боб", "MESSAGE", { room: "chat", from: "Алиса А-Б", text: false });
        assert.deepEqual(await desk.notes("боб", "MESSAGE"), texts.map((text) => ({ room: "chat", from: "Алиса А-Б", text })));
        assert.deepEqual(await desk.notes("carol", "MESSAGE"), []);
        assert.equal(await desk.call("leave", "Алиса А-Б", "chat"), "left");
        await desk.call("say", "Алиса А-Б", "chat", "боб", "поздно");
        await desk.hears("Алиса А-Б", "REFUSED", "поздно");
        assert.equal(await desk.call("leave", "Алиса А-Б", "chat"), "refused");
    });

    test("bitrates, stereo and FEC, for which the SDK rewrites our answer, and the SDK's own statistics", async () => {
        const desk = await gather("wishes", "alice", "bob");
        const constraints = { audio: { stereo: true, bitrate: 64_000, fec: true }, video: { width: 320, height: 240, minBitrate: 100, maxBitrate: 400 } };
        await desk.publish("alice", "wishes", "camera", { constraints, record: false });
        await desk.play("bob", "wishes", "alice", "to bob", { constraints: { audio: { stereo: true }, video: { quality: 50 } } });
        await desk.flows("to bob");
        const [sent, got] = [await desk.call("stats", "camera"), await desk.call("stats", "to bob")];
        assert.deepEqual([sent.outboundStream.video.codec, sent.outboundStream.audio.codec].map((name) => name.toLowerCase()), ["vp8", "opus"]);
        assert.deepEqual([got.inboundStream.video.codec, got.inboundStream.audio.codec].map((name) => name.toLowerCase()), ["vp8", "opus"]);
    });

    test("what cannot be played or published fails, in the vendor's words", async () => {
        const desk = await gather("words", "alice", "bob");
        await desk.connect("stranger");
        assert.deepEqual(await desk.call("playByName", "bob", "words", "nobody's"), { status: "FAILED", info: "Stream not found" });
        await desk.publish("alice", "words", "camera");
        const name = await desk.call("stream", "camera", "name");
        assert.deepEqual(await desk.call("playByName", "stranger", "words", name), { status: "FAILED", info: "Restricted access" });
        assert.deepEqual(await desk.call("play", "bob", "words", "alice", "blind", { stripCodecs: "VP8,H264" }), { status: "PLAYING", info: "video: No common codecs" });
        await desk.play("bob", "words", "alice", "to bob");
        await desk.flows("to bob");
    });

    test("a stream that is stopped before the server has answered ends all the same", async () => {
        const desk = await gather("hasty", "alice", "bob");
        await desk.publish("alice", "hasty", "camera");
        const name = await desk.call("stream", "camera", "name");
        await desk.page.evaluate((stream) => {
            const { driver } = /** @type {any} */ (globalThis);
            driver.playByName("bob", "hasty", stream, "in and out");
            driver.stream("in and out", "stop");
            driver.publish("bob", "hasty", "out at once", {});
            driver.stream("out at once", "stop");
        }, name);
        await desk.hears("in and out", "STOPPED");
        await desk.hears("out at once", "UNPUBLISHED");
        await desk.play("bob", "hasty", "alice", "to bob");
        await desk.flows("to bob");
    });
});
