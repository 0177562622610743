/**
 * libdatachannel, by its bindings for Node. Its offers leave out what a bundle's other m-lines need not say
 * (RFC 8843 §9.1), and it wants a role in requests of ICE.
 * @module
 */

import { after, before, describe, test } from "node:test";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { H264, startEncoders } from "./support/encoder.js";
import { says, startPeer } from "./support/peer.js";
import { ONE_BACK_END, startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const io of ONE_BACK_END) {
    describe(`libdatachannel over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const setup of ["actpass", "passive"]) {
            test(`it publishes to a browser and to itself, with a=setup:${setup}`, async () => {
                const browser = await launch("chromium");
                const peer = startPeer("whip_libdatachannel.js", server.http, setup, setup);
                /** @type {{stop(): void} | undefined} */
                let encoders;
                try {
                    encoders = await startEncoders(peer, H264);
                    await says(peer, "publishing");
                    const person = await join(browser, server, { login: "viewer", room: setup });
                    await person.watches("camera");
                    await says(peer, "playing");
                    peer.finish();
                    await until("it has ended its sessions", () => peer.output().includes("ended"), { describe: peer.output });
                    await person.sees("participant1Name", "NONE");
                } finally {
                    encoders?.stop();
                    peer.kill();
                    await browser.close();
                }
            });
        }
    });
}
