/**
 * Who may do what, and who is still there: tokens, a full room, other people's ids and keep-alive, as the
 * vendor's bundle and its pages meet them.
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { layCable } from "./support/cable.js";
import { sign } from "./support/tokens.js";
import { until } from "./support/until.js";
import { onEachStage } from "./support/vendor.js";

const SECRET = "a secret that is long enough for HS256";
const AUTH = `mode = "token"\ntoken_algorithm = "HS256"\ntoken_key = "token.key"`;

/** Often enough for a test not to wait long, seldom enough for a busy machine. */
const KEEP_ALIVE = "keep_alive_interval_ms = 500\nkeep_alive_probes = 10";

/** One of each browser and scheme: what is judged here knows neither media nor back end. */
const settings = (/** @type {import("./support/vendor.js").Setting} */ { browser, scheme }) => (browser === "firefox") === (scheme === "wss");

onEachStage("the vendor's SDK with tokens", { settings, server: [{ auth: AUTH, rooms: "max_participants = 2" }, { "token.key": SECRET }] }, (stage) => {
    const HOUR_S = 3600;

    /** @param {object} claims @param {string} [secret] */
    function token(claims, secret = SECRET) {
        return sign(secret, { exp: Math.floor(Date.now() / 1000) + HOUR_S, ...claims });
    }

    test("a session whose token is refused never begins, and says why as it closes", async () => {
        const desk = await stage.desk();
        /** @type {[string | undefined, string][]} */
        const cases = [
            [undefined, "A token is required"],
            ["nonsense", "The token is not valid"],
            [token({ rooms: "*" }, "another secret that is long enough"), "The token is not valid"],
            [token({ rooms: "*", exp: 1 }), "The token has expired"],
            [token({ rooms: "*", sub: "somebody else" }), "The token is for another login"],
        ];
        for (const [index, [given, words]] of cases.entries()) {
            const who = `guest ${index}`;
            assert.equal(await desk.call("connect", who, { urlServer: stage.address(), token: given }), "DISCONNECTED");
            await desk.hears(who, "wire closed", { code: 4401, reason: words });
            assert.deepEqual(await desk.notes(who, "ESTABLISHED"), []);
        }
    });

    test("a page that knows no token says that it is disconnected", async () => {
        const guest = await stage.join("conference", { login: "guest", room: "closed" });
        await guest.shows({ status: "DISCONNECTED", joinBtn: "Join" });
    });

    test("a token opens its rooms and no others, and gives its rights and no others", async () => {
        const desk = await stage.desk();
        await desk.connect("Алиса", { token: token({ sub: "Алиса", rooms: ["класс *"] }) });
        assert.deepEqual(await desk.call("join", "Алиса", "сцена"), { failed: "The token does not allow this room" });
        await desk.join("Алиса", "класс 7 - б");
        await desk.publish("Алиса", "класс 7 - б", "camera");
        await desk.connect("listener", { token: token({ rooms: "*", publish: false }) });
        await desk.join("listener", "класс 7 - б");
        await desk.play("listener", "класс 7 - б", "Алиса", "played");
        await desk.flows("played");
        assert.deepEqual(await desk.call("publish", "listener", "класс 7 - б", "forbidden", {}), { status: "FAILED", info: "Restricted access" });

        await desk.connect("third", { token: token({ rooms: "*" }) });
        assert.deepEqual(await desk.call("join", "third", "класс 7 - б"), { failed: "Room is full" });
        assert.deepEqual(await desk.notes("Алиса", "JOINED"), ["listener in класс 7 - б"], "nobody sees who was not let in");
        assert.equal(await desk.call("leave", "listener", "класс 7 - б"), "left");
        await desk.join("third", "класс 7 - б");
    });
});

onEachStage("the vendor's SDK and who is there", { settings, server: [{ signaling: KEEP_ALIVE }] }, (stage) => {
    test("the client's own probes are answered for as long as there is a server, and tell when there is none", async () => {
        const cable = await layCable(stage.setting.scheme === "wss" ? stage.server.ports.https : stage.server.ports.http);
        try {
            const desk = await stage.desk();
            await desk.connect("bob");
            await desk.join("bob", "alive");
            const urlServer = stage.address(cable.port);
            await desk.connect("listens", { urlServer, receiveProbes: 6, probesInterval: 500 });
            await desk.connect("asks", { urlServer, pingInterval: 250 });
            for (const who of ["listens", "asks"]) {
                await desk.join(who, "alive");
            }
            // Eight of the server's take longer than the client's patience, which they renew.
            for (const [who, what] of [["listens", "wire ping"], ["asks", "wire ping"], ["asks", "wire pong"]]) {
                await until(`${who} hears ${what}`, async () => (await desk.notes(who, what)).length > 8);
            }
            assert.deepEqual(await Promise.all(["listens", "asks"].map((who) => desk.call("status", who))), ["ESTABLISHED", "ESTABLISHED"]);
            assert.deepEqual(await desk.notes("bob", "LEFT"), []);

            cable.pull();
            await desk.hears("listens", "FAILED");
            for (const who of ["listens", "asks"]) {
                await desk.hears("bob", "LEFT", `${who} in alive`);
            }
            assert.equal(await desk.call("status", "bob"), "ESTABLISHED");
            await desk.connect("listens");
            assert.deepEqual(await desk.join("listens", "alive"), { bob: [] });
        } finally {
            cable.close();
        }
    });

    test("ids and rooms of others are of no use to a stranger", async () => {
        const desk = await stage.desk();
        for (const [who, room] of [["alice", "home"], ["bob", "home"], ["mallory", "street"]]) {
            await desk.connect(who);
            await desk.join(who, room);
        }
        await desk.publish("alice", "home", "camera");
        await desk.play("bob", "home", "alice", "to bob");
        const [camera, player, name] = await Promise.all([["camera", "id"], ["to bob", "id"], ["camera", "name"]].map(([as, what]) => desk.call("stream", as, what)));

        for (const mediaSessionId of [camera, player]) {
            await desk.call("raw", "mallory", "unPublishStream", { mediaSessionId, name, published: true });
            await desk.call("raw", "mallory", "stopStream", { mediaSessionId, name, published: false });
            await desk.call("raw", "mallory", "sendStreamEvent", { mediaSessionId, type: "audioMuted" });
            await desk.call("raw", "mallory", "sendStreamEvent", { mediaSessionId, type: "data", payload: { from: "mallory" } });
        }
        for (const [message, room] of [["publishStream", "street"], ["playStream", "street"], ["publishStream", "home"], ["playStream", "home"]]) {
            await desk.call("raw", "mallory", message, { mediaSessionId: camera, name, sdp: "v=0\r\n", custom: { name: room } });
        }
        await until("all four are refused", async () => (await desk.notes("mallory", "wire notifyStreamStatusEvent")).filter((/** @type {any} */ one) => one.status === "FAILED").length === 4);
        await desk.call("raw", "mallory", "sendData", { operationId: "1", payload: { command: "sendMessage", options: { roomConfig: { name: "home" }, to: "bob", text: "psst" } } });
        await desk.call("raw", "mallory", "sendData", { operationId: "2", payload: { command: "leave", options: { name: "home" } } });
        await until("both are refused", async () => {
            const answers = /** @type {any[]} */ (await desk.notes("mallory", "wire DataStatusEvent"));
            return ["1", "2"].every((id) => answers.some((one) => one.operationId === id && one.status === "FAILED"));
        });

        // What they meet last comes after all that mallory did.
        assert.deepEqual(await desk.join("mallory", "home"), { alice: [name], bob: [] });
        await desk.call("say", "mallory", "home", "bob", "привет");
        await desk.hears("bob", "MESSAGE", { room: "home", from: "mallory", text: "привет" });
        assert.equal((await desk.notes("bob", "MESSAGE")).length, 1);
        for (const what of ["audioMuted", "data", "STOPPED", "FAILED"]) {
            assert.deepEqual(await desk.notes("to bob", what), []);
        }
        assert.deepEqual(await desk.notes("camera", "UNPUBLISHED"), []);
        await desk.flows("to bob");
    });
});
