/**
 * A cable between a browser and a server that can be pulled: both still believe in the connection, and
 * neither hears the other.
 * @module
 */

import { connect, createServer } from "node:net";

/**
 * @param {number} port of the server
 * @returns {Promise<{port: number, pull: () => void, close: () => void}>} `port`: to be used in its place
 */
export async function layCable(port) {
    let pulled = false;
    /** @type {Set<import("node:net").Socket>} */
    const ends = new Set();
    const server = createServer((near) => {
        const far = connect(port, "localhost");
        for (const [from, to] of [[near, far], [far, near]]) {
            ends.add(from);
            from.on("data", (bytes) => pulled || to.write(bytes));
            from.on("close", () => {
                ends.delete(from);
                pulled || to.destroy();
            });
            from.on("error", () => {}); // A close follows.
        }
    }).listen(0, "localhost");
    await new Promise((resolve) => server.once("listening", resolve));
    return {
        port: /** @type {import("node:net").AddressInfo} */ (server.address()).port,
        pull: () => { pulled = true; },
        close: () => {
            server.close();
            ends.forEach((end) => end.destroy());
        },
    };
}
