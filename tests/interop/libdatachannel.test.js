/**
 * libdatachannel, by its bindings for Node. Its offers leave out what a bundle's other m-lines need not say
 * (RFC 8843 §9.1), and it wants a role in requests of ICE.
 * @module
 */

import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { H264, OPUS, startEncoder } from "./support/encoder.js";
import { startPeer } from "./support/peer.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const io of BACK_ENDS) {
    describe(`libdatachannel over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const setup of ["actpass", "passive"]) {
            test(`it publishes to a browser and to itself, with a=setup:${setup}`, async () => {
                const browser = await launch("chromium");
                const peer = startPeer("whip_libdatachannel.js", server.http, setup, setup);
                /** @type {{stop(): void}[]} */
                const encoders = [];
                try {
                    const port = (/** @type {string} */ kind) => Number(peer.output().match(new RegExp(`^${kind} (\\d+)$`, "m"))?.[1]);
                    const says = (/** @type {string} */ word) => until(`it says ${word}`, () => peer.output().includes(word), { describe: peer.output });
                    await until("it listens", () => port("video") && port("audio"), { describe: peer.output });
                    encoders.push(startEncoder(H264, port("video")), startEncoder(OPUS, port("audio")));
                    await says("publishing");
                    const person = await join(browser, server, { login: "viewer", room: setup });
                    await person.sees("participant1Name", "camera");
                    await person.sees("participant1Status", "PLAYING");
                    await person.receivesMedia();
                    await says("playing");
                    peer.finish();
                    await says("ended");
                    await person.sees("participant1Name", "NONE");
                } finally {
                    encoders.forEach((encoder) => encoder.stop());
                    peer.kill();
                    await browser.close();
                }
            });
        }
    });
}
