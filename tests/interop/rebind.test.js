/**
 * A NAT forgets its bindings in the middle of a call: the browser's datagrams come from other ports than
 * before, and it knows nothing of it. The relay hears a check from there and asks the browser whether that is
 * where it is.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { Person, join } from "./support/conference.js";
import { behindNat, startNat } from "./support/nat.js";
import { BACK_ENDS, SHARDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

/** Its camera goes up on one connection, alice's comes down on another. */
const CONNECTIONS = 2;

for (const io of BACK_ENDS) {
    for (const name of /** @type {import("./support/browsers.js").BrowserName[]} */ (["chromium", "firefox"])) {
        describe(`${name} behind a NAT, over ${io}`, () => {
            /** @type {import("./support/server.js").Server} */
            let server;
            /** @type {import("./support/nat.js").Nat} */
            let nat;
            /** @type {import("puppeteer-core").Browser} */
            let browser;
            before(async () => {
                server = await startServer({ io });
                nat = await startNat(Array.from({ length: SHARDS }, (_, shard) => server.ports.udp + shard));
                browser = await launch(name);
            });
            after(async () => {
                await browser?.close();
                nat?.close();
                await server?.stop();
            });

            test("its call goes on when the NAT forgets its bindings", async () => {
                const alice = await join(browser, server, { login: "alice", room: "nat" });
                const bob = await joinBehindNat("bob", "nat");
                await Promise.all([alice.inCall(), bob.inCall()]);
                await Promise.all([alice.receivesMedia(), bob.receivesMedia()]);
                const before = await transports();
                for (const round of [1, 2]) {
                    nat.rebind();
                    const describe = async () => ({ round, relay: await server.ctl("inventory"), bob: await bob.look() });
                    await until("all is sent to where the NAT sends from now", async () => {
                        const moved = (await transports()).filter(({ address }) => nat.outside.includes(address));
                        return moved.length === CONNECTIONS;
                    }, { describe });
                    await Promise.all([alice.receivesMedia(), bob.receivesMedia()]);
                    assert.ok(nat.answered > 0, "the browser has answered the relay's request");
                }
                assert.deepEqual((await transports()).map(({ id }) => id), before.map(({ id }) => id), "no transport was lost");
                await Promise.all([alice.inCall(), bob.inCall()]);
                [alice, bob].forEach((person) => person.assertNoProblems());
            });

            /** @param {string} login @param {string} room */
            async function joinBehindNat(login, room) {
                const page = await newPerson(browser);
                await behindNat(page, nat);
                await page.goto(`${server.http}/demo/conference/?roomName=${room}`);
                const person = new Person(page, login);
                await page.type("#login", login);
                await person.click("joinBtn");
                return person;
            }

            /** @returns {Promise<{id: string, address: string}[]>} */
            async function transports() {
                const { transports } = await server.ctl("inventory");
                const all = transports.map((one) => ({ id: String(one.transport_id), address: one.remote_address }));
                return all.sort((a, b) => a.id.localeCompare(b.id));
            }
        });
    }
}
