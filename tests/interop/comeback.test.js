/**
 * Who comes back gets in: programs that are killed and pages whose network is gone leave behind sessions that
 * nobody has ended, and their successors take the place of those at once.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { layCable } from "./support/cable.js";
import { Person, join } from "./support/conference.js";
import { behindNat, startNat } from "./support/nat.js";
import { says, startPeer } from "./support/peer.js";
import { BACK_ENDS, SHARDS, startServer } from "./support/server.js";
import { sign } from "./support/tokens.js";

const SECRET = "a secret of at least thirty-two octets";
const AUTH = `mode = "token"\ntoken_algorithm = "HS256"\ntoken_key = "token.key"`;
const VIEWERS = 2;

for (const io of BACK_ENDS) {
    describe(`who comes back, over ${io}`, () => {
        test("an encoder that is killed has its login again at once", async () => {
            const server = await startServer({ io, auth: AUTH }, { "token.key": SECRET });
            const exp = Math.floor(Date.now() / 1000) + 600;
            const token = sign(SECRET, { sub: "pattern", rooms: "r", exp });
            const encoder = () => startPeer("whip_aiortc.py", "--base", server.http, "--room", "r", "--token", token, "--hold");
            let running = encoder();
            try {
                await publishes(running);
                for (const round of [1, 2]) {
                    running.kill();
                    await running.ended;
                    running = encoder();
                    // It asks once: anything but 201 ends it.
                    await publishes(running);
                    assert.equal((await server.ctl("inventory")).transports.length, 1, `round ${round}: its predecessor has gone`);
                }
                running.finish();
                assert.equal(await running.ended, 0, running.output());
            } finally {
                running.kill();
                await server.stop();
            }
        });

        test("viewers that are killed keep nobody out of a room that is full of them", async () => {
            const server = await startServer({ io, rooms: `max_viewers = ${VIEWERS}` });
            const peer = (how) => startPeer("whip_aiortc.py", "--base", server.http, "--room", "r", how);
            const peers = [peer("--hold")];
            const watch = () => {
                peers.push(peer("--watch"));
                return /** @type {typeof peers[0]} */ (peers.at(-1));
            };
            try {
                await publishes(peers[0]);
                const viewers = Array.from({ length: VIEWERS }, watch);
                await Promise.all(viewers.map(plays));
                const oneMore = watch();
                assert.notEqual(await oneMore.ended, 0, "all of them live");
                assert.match(oneMore.output(), /: 503 /);
                viewers.forEach((viewer) => viewer.kill());
                await Promise.all(viewers.map(({ ended }) => ended));
                await Promise.all(viewers.map(() => plays(watch())));
                assert.equal((await server.ctl("inventory")).transports.length, 1 + VIEWERS);
            } finally {
                peers.forEach(({ kill }) => kill());
                await server.stop();
            }
        });

        for (const kind of /** @type {import("./support/browsers.js").BrowserName[]} */ (["chromium", "firefox"])) {
            test(`a member of ${kind} whose network is gone comes back under its own name`, async () => {
                const server = await startServer({ io });
                const cable = await layCable(server.ports.http);
                const nat = await startNat(Array.from({ length: SHARDS }, (_, shard) => server.ports.udp + shard));
                const browser = await launch(kind);
                try {
                    const bob = await join(browser, server, { login: "bob", room: "r" });
                    const page = await newPerson(browser);
                    await behindNat(page, nat);
                    await page.goto(`http://localhost:${cable.port}/demo/conference/?roomName=r`);
                    const alice = new Person(page, "alice");
                    await page.type("#login", "alice");
                    await alice.click("joinBtn");
                    await Promise.all([alice.inCall(), bob.inCall()]);
                    await Promise.all([alice.receivesMedia(), bob.receivesMedia()]);
                    const { transports: before } = await server.ctl("inventory");
                    // Nothing of hers arrives, and she hears nothing: both ends still believe in each other.
                    cable.pull();
                    nat.loses = () => true;
                    const again = await join(browser, server, { login: "alice", room: "r" });
                    await Promise.all([again.inCall(), bob.inCall()]);
                    await Promise.all([again.receivesMedia(), bob.receivesMedia()]);
                    assert.equal(await again.text("failedInfo"), "");
                    const { transports } = await server.ctl("inventory");
                    assert.equal(transports.length, before.length, "her first self has gone with all of its streams");
                    [again, bob].forEach((person) => person.assertNoProblems());
                } finally {
                    await browser.close();
                    nat.close();
                    cable.close();
                    await server.stop();
                }
            });
        }
    });
}

/** @param {import("./support/peer.js").Peer} peer */
const publishes = (peer) => says(peer, "publishing");

/** @param {import("./support/peer.js").Peer} peer */
const plays = (peer) => says(peer, "playing");
