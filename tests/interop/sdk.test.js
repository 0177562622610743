/**
 * The SDK against a scripted server: what it says, what it tells the page, how it comes back.
 * @module
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import * as RoomApi from "../../signaling/web/sdk/index.js";
import { count, judge } from "../../signaling/web/sdk/quality.js";
import { planReturn } from "../../signaling/web/sdk/resume.js";
import { FakeMedia, connections, install, nth, sockets } from "./support/fake-web.js";
import { until } from "./support/until.js";

const { SESSION_STATUS, STREAM_STATUS, ROOM_EVENT, STREAM_EVENT, CONNECTION_QUALITY } = RoomApi;

/** @type {any} */
let session;

beforeEach(() => install());
afterEach(() => session?.disconnect());

function establish(options = {}) {
    session = RoomApi.connect({ urlServer: "ws://test/", username: "Алиса 🎈", ...options });
    const [socket] = sockets;
    socket.open();
    socket.say("getUserData", { status: "ESTABLISHED", authToken: "token-1" });
    return socket;
}

function enter(socket, state = []) {
    const events = [];
    const room = session.join({ name: "lobby" });
    Object.values(ROOM_EVENT).forEach((name) => room.on(name, (subject, info) => events.push([name, info ?? subject.name?.() ?? subject])));
    socket.accept(socket.commands("join").at(-1));
    socket.roomEvent("lobby", "STATE", state);
    return { room, events };
}

async function publishing(socket, room) {
    const stream = room.publish({});
    const request = await nth(socket, "publishStream", socket.got("publishStream").length + 1);
    socket.say("setRemoteSDP", request.mediaSessionId, "answer");
    await until("the answer is taken", () => connections.at(-1)?.remoteDescription);
    socket.say("notifyStreamStatusEvent", { mediaSessionId: request.mediaSessionId, status: "PUBLISHING" });
    return { stream, request };
}

async function comeBack() {
    sockets.at(-1).drop();
    const count = sockets.length;
    await until("it tries again", () => sockets.length > count);
    const socket = sockets.at(-1);
    socket.open();
    socket.say("getUserData", { status: "ESTABLISHED", authToken: "token-2" });
    return socket;
}

test("a session says who it is, is established, and answers pings", () => {
    const seen = [];
    session = RoomApi.connect({ urlServer: "ws://test/", username: "Алиса 🎈", token: "jwt" });
    Object.values(SESSION_STATUS).forEach((status) => session.on(status, () => seen.push(status)));
    const [socket] = sockets;
    socket.open();
    const [hello] = socket.got("connection");
    assert.equal(hello.appKey, "roomApp");
    assert.deepEqual(hello.custom, { login: "Алиса 🎈", token: "jwt", resumable: true });
    socket.say("getUserData", { authToken: "t" });
    socket.say("ping", null);
    assert.deepEqual(socket.sent.at(-1), { message: "pong", data: [null] });
    assert.deepEqual(seen, ["CONNECTED", "ESTABLISHED"]);
});

test("what a room is to be is said with every join, as the one after a restart may be the one that makes it", async () => {
    const wish = { name: "lobby", record: true, maxParticipants: 2, codecs: { video: ["h264"] } };
    const socket = establish();
    session.join(wish);
    assert.deepEqual(socket.commands("join").at(-1).payload.options, wish);
    const again = await comeBack();
    assert.deepEqual(again.commands("join").at(-1).payload.options, wish);
});

test("garbage and unknown messages from the server change nothing", () => {
    const socket = establish();
    socket.onmessage({ data: "no json" });
    socket.onmessage({ data: "[1]" });
    socket.onmessage({ data: "null" });
    socket.onmessage({ data: new ArrayBuffer(3) });
    socket.say("getVersion", "1");
    socket.say("OnDataEvent");
    socket.say("setRemoteSDP");
    assert.equal(session.status(), SESSION_STATUS.ESTABLISHED);
});

test("a refused session fails with the server's reason and does not come back", () => {
    session = RoomApi.connect({ urlServer: "ws://test/", username: "a" });
    const seen = [];
    session.on(SESSION_STATUS.FAILED, (/** @type {any} */ failed) => seen.push(failed.info()));
    const [socket] = sockets;
    socket.open();
    socket.say("fail", { apiMethod: "ConnectionStatusEvent", status: "FAILED", info: "Forbidden" });
    socket.drop(4401, "Forbidden");
    assert.deepEqual(seen, ["Forbidden"]);
    assert.equal(sockets.length, 1);
});

test("a refused session has the server's code, or one of ours from a server that says none", () => {
    for (const [said, code] of [["token-expired", "token-expired"], [undefined, "refused"]]) {
        install();
        session = RoomApi.connect({ urlServer: "ws://test/", username: "a" });
        const [socket] = sockets;
        socket.open();
        socket.say("fail", { apiMethod: "ConnectionStatusEvent", status: "FAILED", info: "Go", code: said });
        socket.drop(4401, "Go");
        const error = session.error();
        assert.ok(error instanceof RoomApi.SessionError);
        assert.deepEqual([error.code, error.message, session.status()], [code, "Go", SESSION_STATUS.FAILED]);
    }
});

test("a server that cannot be reached fails the session at once", () => {
    session = RoomApi.connect({ urlServer: "ws://test/", username: "a" });
    sockets[0].drop();
    assert.equal(session.status(), SESSION_STATUS.FAILED);
});

test("a room tells who is there, who comes, publishes and goes", () => {
    const socket = establish();
    const { room, events } = enter(socket, ["carol", { login: "bob", name: "lobby-bob-1" }, { login: "bob", name: "lobby-bob-2" }]);
    assert.deepEqual(room.getParticipants().map((one) => [one.name(), one.getStreams().map((stream) => stream.name())]),
        [["carol", []], ["bob", ["lobby-bob-1", "lobby-bob-2"]]]);
    socket.roomEvent("lobby", "JOINED", "dave");
    socket.roomEvent("lobby", "PUBLISHED", { login: "dave", name: "lobby-dave-1" });
    socket.roomEvent("lobby", "UNPUBLISHED", { login: "dave", name: "lobby-dave-1" });
    socket.roomEvent("lobby", "UNPUBLISHED", { login: "stranger", name: "x" });
    socket.roomEvent("lobby", "LEFT", "dave");
    socket.roomEvent("lobby", "LEFT", "stranger");
    socket.roomEvent("elsewhere", "JOINED", "eve");
    assert.deepEqual(events, [["STATE", "lobby"], ["JOINED", "dave"], ["PUBLISHED", "dave"], ["UNPUBLISHED", "dave"], ["LEFT", "dave"]]);
});

test("who is replaced in one room hears so, and the session goes on", () => {
    const socket = establish();
    const { room, events } = enter(socket);
    socket.roomEvent("lobby", "REPLACED", "a");
    assert.deepEqual([room.error()?.code, session.getRooms(), session.status()], ["replaced", [], SESSION_STATUS.ESTABLISHED]);
    assert.deepEqual(events.slice(1), [["FAILED", "Replaced by a newer session"]]);
});

test("what a stream lacks is known of others' streams, and of ours with the reason", async () => {
    const socket = establish();
    const { room } = enter(socket, [{ login: "bob", name: "b", hasVideo: false }, { login: "carol", name: "c" }]);
    socket.roomEvent("lobby", "PUBLISHED", { login: "dave", name: "d", hasAudio: false });
    const streams = room.getParticipants().flatMap((one) => one.getStreams());
    assert.deepEqual(streams.map((one) => [one.owner(), one.hasAudio(), one.hasVideo()]),
        [["bob", true, false], ["carol", true, true], ["dave", false, true]]);
    const stream = streams[1].play(undefined);
    const { mediaSessionId } = await nth(socket, "playStream");
    assert.deepEqual([stream.hasAudio(), stream.hasVideo(), stream.rejected()], [true, true, []]);
    const rejected = [{ kind: "video", code: "no-common-codecs", info: "No common codecs" }];
    socket.say("notifyStreamStatusEvent", { mediaSessionId, status: "PLAYING", hasAudio: true, hasVideo: false, rejected, info: "video: No common codecs" });
    assert.deepEqual([stream.status(), stream.error(), stream.hasAudio(), stream.hasVideo(), stream.rejected()],
        ["PLAYING", null, true, false, rejected]);
    stream._restart();
    assert.deepEqual([stream.hasVideo(), stream.rejected()], [true, []], "a new offer may have it");
});

test("a refused join tells why", async () => {
    const socket = establish();
    const room = session.join({ name: "lobby" });
    const refused = new Promise((resolve) => room.on(ROOM_EVENT.FAILED, (_, info) => resolve(info)));
    const [{ operationId, payload }] = socket.commands("join");
    assert.deepEqual(payload.options, { name: "lobby", record: false });
    socket.say("DataStatusEvent", { operationId, status: "FAILED", info: "Room already has user with such login" });
    assert.equal(await refused, "Room already has user with such login");
    assert.deepEqual(session.getRooms(), []);
});

test("messages go to everybody, arrive untouched, and a refusal is an error", async () => {
    const socket = establish();
    const { room } = enter(socket, ["bob", "carol"]);
    const texts = [];
    room.on(ROOM_EVENT.MESSAGE, ({ from, text }) => texts.push([from.name(), text]));
    socket.roomEvent("lobby", "MESSAGE", { from: "bob", text: "Привет 👋🏽 <b>" });
    socket.roomEvent("lobby", "MESSAGE", { from: "ghost", text: { any: ["json"] } });
    assert.deepEqual(texts, [["bob", "Привет 👋🏽 <b>"], ["ghost", { any: ["json"] }]]);

    const sent = room.sendMessage("Ёлка 🎄");
    const commands = socket.commands("sendMessage");
    assert.deepEqual(commands.map(({ payload }) => payload.options), [
        { roomConfig: { name: "lobby" }, to: "bob", text: "Ёлка 🎄" },
        { roomConfig: { name: "lobby" }, to: "carol", text: "Ёлка 🎄" },
    ]);
    socket.accept(commands[0]);
    socket.say("DataStatusEvent", { operationId: commands[1].operationId, status: "FAILED", info: "no" });
    await assert.rejects(sent, (error) => error instanceof RoomApi.CommandError && error.message === "no");
});

test("publish says what the protocol wants, mutes, and stops", async () => {
    const socket = establish();
    const { room } = enter(socket);
    const { stream, request } = await publishing(socket, room);
    const { mediaSessionId, name, ...rest } = request;
    assert.match(mediaSessionId, /^[0-9a-f-]{36}$/);
    assert.match(name, /^lobby-Алиса 🎈-[0-9a-f]{4}$/u);
    assert.deepEqual(rest, {
        published: true, hasVideo: true, hasAudio: true, status: "PENDING", record: false, mediaProvider: "WebRTC",
        sdp: "offer audio sendonly, video sendonly", custom: { name: "lobby" }, bitrate: 0, minBitrate: 0, maxBitrate: 0,
        constraints: { audio: true, video: true },
    });
    assert.equal(stream.status(), STREAM_STATUS.PUBLISHING);
    stream.muteAudio();
    stream.muteAudio();
    stream.unmuteAudio();
    stream.muteVideo();
    assert.deepEqual(socket.got("sendStreamEvent").map(({ type }) => type), ["audioMuted", "audioUnmuted", "videoMuted"]);
    stream.stop();
    assert.equal((await nth(socket, "unPublishStream")).mediaSessionId, mediaSessionId);
    assert.equal(connections[0].connectionState, "closed");
    socket.say("notifyStreamStatusEvent", { mediaSessionId, status: "UNPUBLISHED", info: "Stopped by user", recordName: "r.webm" });
    assert.equal(stream.status(), STREAM_STATUS.UNPUBLISHED);
    assert.equal(stream.recordName(), "r.webm");
});

test("play offers to receive, follows the publisher's mutes, and ends with the publisher", async () => {
    const socket = establish();
    const { room } = enter(socket, [{ login: "bob", name: "lobby-bob-1" }]);
    const stream = room.getParticipants()[0].getStreams()[0].play(undefined);
    const request = await nth(socket, "playStream");
    assert.equal(request.name, "lobby-bob-1");
    assert.equal(request.published, false);
    assert.equal(request.sdp, "offer audio recvonly, video recvonly");
    const { mediaSessionId } = request;
    socket.say("notifyStreamStatusEvent", { mediaSessionId, status: "PLAYING", audioState: { muted: true }, videoState: { muted: false } });
    assert.equal(stream.isAudioMuted(), true);
    const notes = [];
    stream.on(STREAM_EVENT.DATA, (_, payload) => notes.push(payload));
    socket.say("notifyStreamEvent", { mediaSessionId, type: "audioUnmuted" });
    socket.say("notifyStreamEvent", { mediaSessionId, type: "data", payload: { hand: "up" } });
    assert.equal(stream.isAudioMuted(), false);
    assert.deepEqual(notes, [{ hand: "up" }]);
    socket.say("notifyStreamStatusEvent", { mediaSessionId, status: "STOPPED", info: "Stopped by publisher stop" });
    assert.equal(stream.status(), STREAM_STATUS.STOPPED);
    assert.equal(stream.info(), "Stopped by publisher stop");
});

test("an answer that the browser refuses fails the stream and tells the server", async () => {
    const socket = establish();
    const { room } = enter(socket, [{ login: "bob", name: "lobby-bob-1" }]);
    const stream = room.getParticipants()[0].getStreams()[0].play(undefined);
    const { mediaSessionId } = await nth(socket, "playStream");
    socket.say("setRemoteSDP", mediaSessionId, "garbage");
    await until("it fails", () => stream.status() === STREAM_STATUS.FAILED);
    assert.equal((await nth(socket, "stopStream")).mediaSessionId, mediaSessionId);
    assert.match(stream.error().message, /Failed to parse/);
});

for (const [name, code] of [["NotAllowedError", "permission-denied"], ["NotFoundError", "device-not-found"], ["NotReadableError", "device-busy"], ["WeirdError", "unknown"]]) {
    test(`no camera: ${name} is ${code}`, async () => {
        install(async () => { throw Object.assign(new Error("no"), { name }); });
        const { room } = enter(establish());
        const stream = room.publish({});
        await until("it fails", () => stream.status() === STREAM_STATUS.FAILED);
        assert.ok(stream.error() instanceof RoomApi.MediaError);
        assert.equal(stream.error().code, code);
        assert.equal(stream.info(), "Local error");
    });
}

test("a stream stopped while the person is still asked for the camera ends and gives the camera back", async () => {
    /** @type {(media: any) => void} */
    let allow = () => {};
    install(() => new Promise((resolve) => { allow = resolve; }));
    const socket = establish();
    const { room } = enter(socket);
    const stream = room.publish({});
    stream.stop();
    assert.equal(stream.status(), STREAM_STATUS.UNPUBLISHED);
    const media = new FakeMedia("audio", "video");
    allow(media);
    await until("the camera is off", () => media.tracks.every(({ stopped }) => stopped));
    assert.deepEqual(socket.got("publishStream"), []);
});

test("another camera replaces the first without a new offer, muted as before, and the first is switched off", async () => {
    const socket = establish();
    const { room } = enter(socket);
    const { stream } = await publishing(socket, room);
    const [audio, first] = stream.mediaStream().getTracks();
    stream.muteVideo();
    const second = new FakeMedia("video");
    globalThis.navigator.mediaDevices.getUserMedia = async () => /** @type {any} */ (second);
    await stream.switchDevice({ video: { deviceId: "b" } });
    assert.equal(first.stopped, true);
    assert.deepEqual(stream.mediaStream().getTracks(), [audio, second.tracks[0]]);
    assert.equal(second.tracks[0].enabled, false);
    assert.equal(connections.length, 1);
    assert.equal(connections[0].senders.find(({ track }) => track.kind === "video").track, second.tracks[0]);

    globalThis.navigator.mediaDevices.getUserMedia = async () => { throw Object.assign(new Error("no"), { name: "NotReadableError" }); };
    await assert.rejects(stream.switchDevice({ video: true }), (error) => error.code === "device-busy");
    assert.equal(stream.status(), STREAM_STATUS.PUBLISHING);
});

test("receiveAudio and receiveVideo choose what is played, and what a publisher's offer may receive", async () => {
    const socket = establish();
    const { room } = enter(socket, [{ login: "bob", name: "lobby-bob-1" }]);
    room.getParticipants()[0].getStreams()[0].play(undefined, { receiveVideo: false });
    assert.equal((await nth(socket, "playStream")).sdp, "offer audio recvonly");
    room.publish({ receiveAudio: true, receiveVideo: false });
    assert.equal((await nth(socket, "publishStream")).sdp, "offer audio sendrecv, video sendonly");
});

test("errors have a code for programs", async () => {
    const socket = establish();
    for (const [info, code, said] of [["Voll", "room-full", "room-full"], ["Room is full", "refused"], ["Because", "refused"]]) {
        const room = session.join({ name: "lobby" });
        const refused = new Promise((resolve) => room.on(ROOM_EVENT.FAILED, resolve));
        socket.say("DataStatusEvent", { operationId: socket.commands("join").at(-1).operationId, status: "FAILED", info, code: said });
        await refused;
        assert.ok(room.error() instanceof RoomApi.CommandError);
        assert.deepEqual([room.error().code, room.error().message], [code, info]);
    }
    const { room } = enter(socket);
    const stream = room.publish({});
    const { mediaSessionId } = await nth(socket, "publishStream");
    socket.say("notifyStreamStatusEvent", { mediaSessionId, status: "FAILED", info: "No common codecs", code: "no-common-codecs" });
    assert.ok(stream.error() instanceof RoomApi.StreamError);
    assert.deepEqual([stream.error().code, stream.error().message], ["no-common-codecs", "No common codecs"]);
    session.disconnect();
    assert.equal(session.error(), null);

    install();
    session = RoomApi.connect({ urlServer: "ws://test/", username: "a" });
    sockets[0].drop();
    assert.ok(session.error() instanceof RoomApi.SessionError);
    assert.equal(session.error().code, "unreachable");
});

test("connection quality: what is counted, and how it is judged", () => {
    const report = (/** @type {any[]} */ ...entries) => /** @type {any} */ (new Map(entries.map((entry, index) => [index, entry])));
    const pair = { type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.04 };
    assert.deepEqual(count(report(pair, { type: "inbound-rtp", packetsReceived: 90, packetsLost: 10, jitter: 0.01 }, { type: "inbound-rtp", packetsReceived: 10, packetsLost: -2 }), false),
        { arrived: 100, lost: 8, rtt: 0.04, jitter: 0.01 });
    assert.deepEqual(count(report({ type: "outbound-rtp", packetsSent: 100 }, { type: "remote-inbound-rtp", packetsLost: 4, roundTripTime: 0.3, jitter: 0.02 }), true),
        { arrived: 96, lost: 4, rtt: 0.3, jitter: 0.02 });
    const before = { arrived: 1000, lost: 50, rtt: 0, jitter: 0 };
    const verdict = (/** @type {any} */ more) => judge(before, { arrived: 1100, lost: 50, rtt: 0.02, jitter: 0.005, ...more }).quality;
    assert.deepEqual([{}, { lost: 52 }, { lost: 60 }, { rtt: 0.3 }, { rtt: 0.6 }, { jitter: 0.05 }, { jitter: 0.2 }, { arrived: 1000 }].map(verdict),
        ["PERFECT", "GOOD", "BAD", "GOOD", "BAD", "GOOD", "BAD", "BAD"]);
});

test("a publishing stream tells its connection quality while it runs", async () => {
    const socket = establish();
    const { room } = enter(socket);
    const { stream } = await publishing(socket, room);
    assert.equal(stream.quality().quality, CONNECTION_QUALITY.UNKNOWN);
    const told = [];
    stream.on(STREAM_EVENT.QUALITY, (/** @type {any} */ _, /** @type {any} */ quality) => told.push(quality.quality));
    const rtp = { type: "outbound-rtp", packetsSent: 0 };
    connections[0].report = [rtp];
    const sending = setInterval(() => { rtp.packetsSent += 10; }, 100);
    await until("two verdicts came", () => told.length === 2);
    clearInterval(sending);
    assert.deepEqual(told, ["PERFECT", "PERFECT"]);
    assert.equal(stream.quality().quality, CONNECTION_QUALITY.PERFECT);
});

test("leave resolves when accepted, and joining again at once is a new room", async () => {
    const socket = establish();
    const { room } = enter(socket);
    const { stream } = await publishing(socket, room);
    const left = room.leave();
    const { room: again, events } = enter(socket);
    socket.accept(socket.commands("leave")[0]);
    await left;
    assert.equal(stream.status(), STREAM_STATUS.UNPUBLISHED);
    assert.deepEqual(events, [["STATE", "lobby"]]);
    assert.deepEqual(session.getRooms(), [again]);
});

test("after a loss it comes back with its token, and streams that flow are not touched", async () => {
    const first = establish();
    const { room, events } = enter(first, ["bob"]);
    const { stream, request } = await publishing(first, room);
    stream.muteAudio();
    const seen = [];
    session.on(SESSION_STATUS.RECONNECTING, () => seen.push("RECONNECTING")).on(SESSION_STATUS.RESUMED, () => seen.push("RESUMED"));
    const second = await comeBack();
    assert.deepEqual(second.got("connection")[0].custom, { login: "Алиса 🎈", resumable: true, resume: "token-1" });
    assert.deepEqual(seen, ["RECONNECTING", "RESUMED"]);
    assert.equal(session.status(), SESSION_STATUS.ESTABLISHED);
    second.accept(second.commands("join")[0]);
    const resumed = [{ mediaSessionId: request.mediaSessionId, name: request.name, published: true, status: "PUBLISHING" }];
    second.roomEvent("lobby", "STATE", [{ login: "bob", name: "lobby-bob-9" }, "carol"], { resumed });
    assert.equal(stream.id(), request.mediaSessionId);
    assert.equal(connections.length, 1);
    assert.deepEqual(second.got("publishStream"), []);
    assert.deepEqual(second.got("sendStreamEvent").map(({ type }) => type), ["audioMuted"], "a new server learns what is muted");
    assert.deepEqual(events.slice(1), [["JOINED", "carol"], ["PUBLISHED", "bob"]]);
});

test("after a loss a stream that the server forgot is published anew, and one of ours that we forgot is stopped", async () => {
    const first = establish();
    const { room } = enter(first);
    const { stream, request } = await publishing(first, room);
    const second = await comeBack();
    second.roomEvent("lobby", "STATE", [], { resumed: [{ mediaSessionId: "old", name: "n", published: false, status: "PLAYING" }] });
    const again = await nth(second, "publishStream");
    assert.notEqual(again.mediaSessionId, request.mediaSessionId);
    assert.equal(stream.id(), again.mediaSessionId);
    assert.equal(stream.status(), STREAM_STATUS.PENDING);
    assert.equal(connections[0].connectionState, "closed");
    assert.equal((await nth(second, "stopStream")).mediaSessionId, "old");
});

test("a connection that fails while the session is up is replaced", async () => {
    const socket = establish();
    const { room } = enter(socket);
    const { stream, request } = await publishing(socket, room);
    connections[0].fail();
    const again = await nth(socket, "publishStream", 2);
    assert.equal(socket.got("unPublishStream")[0].mediaSessionId, request.mediaSessionId);
    assert.equal(stream.id(), again.mediaSessionId);
});

test("somebody whose media still comes is kept until they are back or their stream ends", async () => {
    const first = establish();
    const { room, events } = enter(first, [{ login: "bob", name: "lobby-bob-1" }]);
    const stream = room.getParticipants()[0].getStreams()[0].play(undefined);
    const { mediaSessionId, name } = await nth(first, "playStream");
    first.say("setRemoteSDP", mediaSessionId, "answer");
    await until("the answer is taken", () => connections[0].remoteDescription);
    first.say("notifyStreamStatusEvent", { mediaSessionId, status: "PLAYING" });
    const resumed = [{ mediaSessionId, name, published: false, status: "PLAYING" }];

    const second = await comeBack();
    second.roomEvent("lobby", "STATE", [], { resumed });
    second.roomEvent("lobby", "JOINED", "bob");
    second.roomEvent("lobby", "PUBLISHED", { login: "bob", name });
    assert.deepEqual(events.slice(1), [], "the page saw nothing of it");

    const third = await comeBack();
    third.roomEvent("lobby", "STATE", [], { resumed });
    third.say("notifyStreamStatusEvent", { mediaSessionId, status: "STOPPED" });
    assert.deepEqual(events.slice(1), [["LEFT", "bob"]]);
    assert.equal(stream.status(), STREAM_STATUS.STOPPED);
});

test("leave said during a loss is said again afterwards", async () => {
    const first = establish();
    const { room } = enter(first);
    first.drop();
    const left = room.leave();
    await until("it tries again", () => sockets.length > 1);
    sockets[1].open();
    sockets[1].say("getUserData", {});
    assert.deepEqual(sockets[1].commands("join"), []);
    sockets[1].accept(sockets[1].commands("leave")[0]);
    await left;
});

test("without a server the session gives up after its time, and everything ends", async () => {
    const socket = establish({ reconnectTimeout: 1 });
    const { room } = enter(socket);
    const { stream } = await publishing(socket, room);
    const sent = room.leave();
    const refused = assert.rejects(sent, RoomApi.SessionError);
    socket.drop();
    await until("it tries again", () => sockets.length > 1);
    sockets[1].drop();
    assert.equal(session.status(), SESSION_STATUS.DISCONNECTED);
    assert.equal(session.info(), "Connection lost");
    await refused;
    assert.equal(stream.status(), STREAM_STATUS.FAILED);
});

test("a handler that throws disturbs nobody else and is reported", () => {
    const reported = [];
    globalThis.reportError = (/** @type {any} */ error) => reported.push(error.message);
    const socket = establish();
    const { room } = enter(socket);
    const seen = [];
    room.on(ROOM_EVENT.JOINED, () => { throw new Error("page's mistake"); }).on(ROOM_EVENT.JOINED, () => seen.push("second"));
    socket.roomEvent("lobby", "JOINED", "bob");
    assert.deepEqual(seen, ["second"]);
    assert.deepEqual(reported, ["page's mistake"]);
});

test("the default address follows the page's", () => {
    assert.equal(RoomApi.defaultUrlServer(new URL("https://a.example:8443/demo/")), "wss://a.example:8443/");
    assert.equal(RoomApi.defaultUrlServer(new URL("http://[::1]:8080/")), "ws://[::1]:8080/");
});

test("planReturn, case by case", () => {
    const stream = (id, { published = false, owner = "bob", name = id, flows = true } = {}) =>
        /** @type {any} */ ({ id: () => id, name: () => name, owner: () => owner, published: () => published, _flows: flows });
    const person = (login, ...names) => /** @type {any} */ ({ name: () => login, getStreams: () => names.map((name) => ({ name: () => name })) });
    const plan = (facts) => {
        const { keep, restart, end, awaited, left, joined, unpublished } = planReturn({ members: [], resumed: [], ours: [], known: [], ...facts });
        const ids = (list) => list.map((one) => one.id()).join();
        return [ids(keep.map((one) => one.stream)), ids(restart), ids(end), [...awaited].join(), left.join(), joined.join(), unpublished.map(({ name }) => name).join()];
    };
    const played = [{ mediaSessionId: "p", name: "n", published: false, status: "PLAYING" }];
    const bobs = { login: "bob", name: "n" };
    const p = (more = {}) => stream("p", { name: "n", ...more });
    /** @type {[string, any, any[]][]} */
    const cases = [
        ["nothing", {}, ["", "", "", "", "", "", ""]],
        ["flows and known to the server", { members: [bobs], resumed: played, ours: [p()], known: [person("bob", "n")] }, ["p", "", "", "", "", "", ""]],
        ["its owner is not back yet", { resumed: played, ours: [p()], known: [person("bob", "n")] }, ["p", "", "", "bob", "", "", ""]],
        ["dead here, still published", { members: [bobs], resumed: played, ours: [p({ flows: false })], known: [person("bob", "n")] }, ["", "p", "", "", "", "", ""]],
        ["dead here, gone there", { ours: [p({ flows: false })], known: [person("bob", "n")] }, ["", "", "p", "", "bob", "", ""]],
        ["the publisher began again under a new name", { members: [{ login: "bob", name: "m" }], ours: [p()], known: [person("bob", "n")] }, ["", "", "p", "", "", "", "n"]],
        ["ours, forgotten by the server", { ours: [p({ published: true, owner: "me" })] }, ["", "p", "", "", "", "", ""]],
        ["new people", { members: ["carol", bobs, bobs] }, ["", "", "", "", "", "carol,bob", ""]],
    ];
    for (const [what, facts, expected] of cases) {
        assert.deepEqual(plan(facts), expected, what);
    }
});
