/**
 * Bad input from outside while two people talk: each gets its counter or a clear error, nothing crashes, and
 * the two notice nothing.
 * @module
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { RawClient } from "./support/raw.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

const DATAGRAMS = 2000;

for (const io of BACK_ENDS) {
    describe(`bad input over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("puppeteer-core").Browser} */
        let browser;
        /** @type {import("./support/conference.js").Person[]} */
        let people;
        let relay = 0;

        before(async () => {
            [server, browser] = await Promise.all([startServer({ io }), launch("chromium")]);
            people = [await join(browser, server, { login: "alice", room: "quiet" }), await join(browser, server, { login: "bob", room: "quiet" })];
            await Promise.all(people.map((person) => person.inCall()));
            relay = await server.relayPid();
        });
        after(async () => {
            await browser?.close();
            await server?.stop();
        });

        /** The call goes on, in the same processes, and nobody else came or went. */
        async function nothingHappened() {
            await Promise.all(people.map((person) => person.receivesMedia()));
            await Promise.all(people.map((person) => person.inCall()));
            assert.equal(await server.relayPid(), relay);
            people.forEach((person) => person.assertNoProblems());
        }

        test("garbage on the UDP ports is counted by name", async () => {
            const before = (await server.ctl("stats")).total;
            await bombard(server);
            const names = ["drop.unknown_protocol", "drop.stun_malformed", "drop.stun_unknown_ufrag", "drop.tuple_not_validated"];
            await until("each kind has its counter", async () => {
                const now = (await server.ctl("stats")).total;
                return names.every((name) => now[name] > before[name]);
            }, { describe: async () => (await server.ctl("stats")).total });
            await nothingHappened();
        });

        test("messages that are none are answered or ignored, and the session lives on", async () => {
            const client = await RawClient.session(server.ws, "mallory");
            for (const text of ["", "no json", "{}", "[]", "null", "1e999", '{"message":1}', '{"message":"join","data":{}}', '{"message":"sendData"}',
                '{"message":"sendData","data":[]}', '{"message":"sendData","data":[null]}', '{"message":"publishStream","data":[{}]}',
                '{"message":"playStream","data":[{"mediaSessionId":7}]}', '{"message":"x","message":"y","data":[null]}',
                "[".repeat(20_000), '{"message":"\ud800","data":[null]}', '{"message":"unknownCommand","data":[{}]}']) {
                client.raw(text);
            }
            client.raw(randomBytes(500));
            const info = (await client.command("dance", {})).info;
            assert.ok(info, "an unknown command is refused with a reason");
            assert.equal((await client.command("join", { name: "elsewhere" })).status, "ACCEPTED");
            assert.equal(client.closed, null);
            await client.close();
            await nothingHappened();
        });

        test("a message larger than any is refused with 1009", async () => {
            const client = await RawClient.session(server.ws, "mallory");
            client.announce(2 << 20);
            await until("it is closed", () => client.closed);
            assert.equal(client.closed?.code, 1009);
            // One that is really sent is cut off as well; whether the reason gets through then is TCP's
            // affair.
            const other = await RawClient.session(server.ws, "mallory");
            other.raw(JSON.stringify({ message: "x", data: ["y".repeat(2 << 20)] }));
            await until("it is closed, too", () => other.closed);
            await nothingHappened();
        });

        test("commands in a room one is not in are refused", async () => {
            const client = await RawClient.session(server.ws, "mallory");
            assert.equal((await client.command("sendMessage", { roomConfig: { name: "quiet" }, to: "alice", text: "psst" })).status, "FAILED");
            assert.equal((await client.command("leave", { name: "quiet" })).status, "FAILED");
            const stream = { mediaSessionId: "m1", name: "quiet-mallory-1", published: true, sdp: "v=0\r\n", custom: { name: "quiet" } };
            client.say("publishStream", stream);
            const refused = await client.hears("notifyStreamStatusEvent", (data) => data.mediaSessionId === "m1");
            assert.deepEqual([refused.status, refused.info], ["FAILED", "Restricted access"]);
            client.say("playStream", { ...stream, mediaSessionId: "m2", published: false });
            assert.equal((await client.hears("notifyStreamStatusEvent", (data) => data.mediaSessionId === "m2")).status, "FAILED");
            for (const name of ["unPublishStream", "stopStream"]) {
                for (const { page } of people) {
                    const id = await page.evaluate(() => document.querySelector(".own video")?.id ?? "x");
                    client.say(name, { mediaSessionId: id, name: "x" });
                }
            }
            await client.close();
            assert.ok((await people[0].lines()).every((line) => !line.includes("psst")));
            await nothingHappened();
        });

        test("an offer with a thousand m-lines is refused, and the stream is told", async () => {
            const client = await RawClient.session(server.ws, "mallory");
            assert.equal((await client.command("join", { name: "elsewhere" })).status, "ACCEPTED");
            const line = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n";
            const sdp = `v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n${line.repeat(1000)}`;
            for (const [id, offer] of [["m1", sdp], ["m2", "v=0\r\n"], ["m3", "garbage"], ["m4", ""]]) {
                client.say("publishStream", { mediaSessionId: id, name: `elsewhere-mallory-${id}`, published: true, sdp: offer, custom: { name: "elsewhere" } });
                const refused = await client.hears("notifyStreamStatusEvent", (data) => data.mediaSessionId === id);
                assert.equal(refused.status, "FAILED");
                assert.ok(refused.info, "with a reason");
            }
            await client.close();
            await nothingHappened();
        });

        test("a hundred connections that say nothing, and a hundred that vanish, disturb nobody", async () => {
            const silent = Array.from({ length: 100 }, () => new RawClient(server.ws));
            const sessions = await Promise.all(Array.from({ length: 100 }, (_, index) => RawClient.session(server.ws, `ghost ${index}`)));
            await Promise.all(sessions.map((client) => client.command("join", { name: "ghosts" })));
            sessions.forEach((client) => client.socket.terminate());
            await nothingHappened();
            silent.forEach((client) => client.socket.terminate());
        });
    });
}

/**
 * Datagrams of every kind that no client of ours sent.
 * @param {import("./support/server.js").Server} server
 */
async function bombard(server) {
    const socket = createSocket("udp4");
    const { candidates } = (await server.ctl("inventory")).transports[0];
    const port = Number(candidates[0].split(":").at(-1));
    const stun = Buffer.concat([Buffer.from([0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]), randomBytes(12), Buffer.from([0, 6, 0, 7]), Buffer.from("abcd:xy\0")]);
    const kinds = [
        () => randomBytes(1 + Math.floor(Math.random() * 1400)),
        () => Buffer.concat([Buffer.from([0x00]), randomBytes(40)]), // Broken STUN.
        () => stun, // Good STUN for nobody.
        () => Buffer.concat([Buffer.from([0x16, 0xfe, 0xfd]), randomBytes(200)]), // DTLS.
        () => Buffer.concat([Buffer.from([0x80, 0x60]), randomBytes(300)]), // RTP.
        () => Buffer.concat([Buffer.from([0x80, 0xc8]), randomBytes(60)]), // RTCP.
        () => Buffer.from([0xff]),
        () => Buffer.alloc(0),
    ];
    for (let index = 0; index < DATAGRAMS; index += 1) {
        await new Promise((resolve) => socket.send(kinds[index % kinds.length](), port, "127.0.0.1", resolve));
    }
    socket.close();
}
