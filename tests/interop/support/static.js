/**
 * Serves a directory to a browser: the vendor's pages, as a customer's own web server would.
 * @module
 */

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".png": "image/png" };

/**
 * @param {string} root
 * @returns {Promise<{url: string, close: () => void}>}
 */
export async function serve(root) {
    const server = createServer((request, response) => {
        const path = join(root, normalize(new URL(request.url ?? "/", "http://x").pathname));
        if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
            response.writeHead(404).end();
            return;
        }
        response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
        createReadStream(path).pipe(response);
    }).listen(0, "localhost");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    return { url: `http://localhost:${port}`, close: () => server.close() };
}
