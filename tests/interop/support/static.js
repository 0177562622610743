/**
 * Serves a directory to a browser: the vendor's pages, as a customer's own web server would.
 * @module
 */

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { extname, join, normalize } from "node:path";

/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".png": "image/png" };

/** What stands at `/`: a page for a test's own scripts. */
const EMPTY = "<!doctype html><meta charset=utf-8><title>Test</title>";

/**
 * @param {string} root
 * @param {{cert: Buffer, key: Buffer}} [secure] over https, with this certificate
 * @returns {Promise<{url: string, close: () => void}>}
 */
export async function serve(root, secure) {
    /** @type {import("node:http").RequestListener} */
    const answer = (request, response) => {
        if (request.url === "/") {
            response.writeHead(200, { "content-type": "text/html" }).end(EMPTY);
            return;
        }
        const path = join(root, normalize(new URL(request.url ?? "/", "http://x").pathname));
        if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
            response.writeHead(404).end();
            return;
        }
        response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
        createReadStream(path).pipe(response);
    };
    const server = secure ? createSecureServer(secure, answer) : createServer(answer);
    server.listen(0, "localhost");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    return { url: `${secure ? "https" : "http"}://localhost:${port}`, close: () => server.close() };
}
