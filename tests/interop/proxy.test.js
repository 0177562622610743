/**
 * Behind reverse proxies as Debian has them, with the settings of the README: TLS ends there, the host is
 * another one, and a prefix is stripped. One of nginx's has no settings but those that WebSockets need.
 * @module
 */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join as path } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { freePort, startServer } from "./support/server.js";
import { until } from "./support/until.js";

const README = path(dirname(fileURLToPath(import.meta.url)), "../../README.md");
const OFFER = await readFile(path(dirname(fileURLToPath(import.meta.url)), "../../signaling/src/sdp/fixtures/peer-publish-setup-passive.sdp"), "utf8")
    .then((offer) => offer.replaceAll("setup:passive", "setup:actpass"));
/** An address of this machine that is no proxy's: who comes from it is told from the others. */
const CLIENT = "127.0.0.9";

/**
 * The settings for a proxy as the README has them, with our ports.
 * @param {string} name @param {number} port
 */
async function fromReadme(name, port) {
    const text = await readFile(README, "utf8");
    const block = text.split(`\`\`\`${name}\n`)[1]?.split("```")[0] ?? "";
    assert.match(block, /127\.0\.0\.1:8080/, `the README has settings for ${name}`);
    return block.replace("127.0.0.1:8080", `127.0.0.1:${port}`);
}

/**
 * The README's settings for nginx, by the block that each part belongs to.
 * @param {number} port
 */
async function nginxFromReadme(port) {
    const text = await fromReadme("nginx", port);
    const [http, server] = text.split("# in server { }\n");
    assert.match(http, /^# in http \{ \}\nmap /);
    assert.match(server ?? "", /^location /);
    return { http, server };
}

/** @param {string} dir */
async function certificate(dir) {
    const [cert, key] = [path(dir, "cert.pem"), path(dir, "key.pem")];
    await promisify(execFile)("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]);
    return { cert, key };
}

/** @type {Record<string, (dir: string, port: number, upstream: number) => Promise<[string, string[]]>>} */
const PROXIES = {
    nginx: async (dir, port, upstream) => nginx(dir, port, await nginxFromReadme(upstream)),
    "nginx with what WebSockets need": async (dir, port, upstream) => {
        const { http, server } = await nginxFromReadme(upstream);
        const without = server.split("\n").filter((line) => !/Host|X-Forwarded-For/.test(line)).join("\n");
        return nginx(dir, port, { http, server: without });
    },
    caddy: async (dir, port, upstream) => {
        const { cert, key } = await certificate(dir);
        const file = path(dir, "Caddyfile");
        await writeFile(file, `{\n admin off\n auto_https off\n skip_install_trust\n}\nhttps://localhost:${port} {\n tls ${cert} ${key}\n${
            await fromReadme("caddyfile", upstream)}\n}\n`);
        return ["caddy", ["run", "--config", file, "--adapter", "caddyfile"]];
    },
};

/** @param {string} dir @param {number} port @param {{http: string, server: string}} settings @returns {Promise<[string, string[]]>} */
async function nginx(dir, port, settings) {
    const { cert, key } = await certificate(dir);
    const file = path(dir, "nginx.conf");
    const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`).join(" ");
    await writeFile(file, `daemon off; pid ${dir}/pid; error_log stderr; worker_processes 1;
events {}
http {
    access_log off; ${temp}
    ${settings.http}
    server {
        listen 127.0.0.1:${port} ssl; server_name localhost;
        ssl_certificate ${cert}; ssl_certificate_key ${key};
        ${settings.server}
    }
}`);
    return ["/usr/sbin/nginx", ["-c", file, "-p", dir, "-e", "stderr"]];
}

for (const [name, settings] of Object.entries(PROXIES)) {
    describe(`behind ${name}`, () => {
        const tellsWho = name !== "nginx with what WebSockets need";
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("node:child_process").ChildProcess} */
        let proxy;
        let [dir, base, output] = ["", "", ""];
        before(async () => {
            server = await startServer({ io: "mmsg", signaling: "log = \"debug\"\nmax_unproved_streams_per_address = 2" });
            dir = await mkdtemp(path(tmpdir(), "ringvox-proxy-"));
            const port = await freePort();
            base = `https://localhost:${port}/rooms`;
            const [program, args] = await settings(dir, port, server.ports.http);
            proxy = spawn(program, args, { env: { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir } });
            proxy.stdout?.on("data", (data) => { output += data; });
            proxy.stderr?.on("data", (data) => { output += data; });
            await until("the proxy answers", async () => (await ask("GET", `${base}/healthz`).catch(() => null))?.status === 200, { describe: () => output });
        });
        after(async () => {
            if (proxy && proxy.exitCode === null) {
                proxy.kill("SIGTERM");
                await new Promise((resolve) => proxy.once("close", resolve));
            }
            await server?.stop();
            await rm(dir, { recursive: true, force: true });
        });

        for (const kind of /** @type {import("./support/browsers.js").BrowserName[]} */ (["chromium", "firefox"])) {
            test(`two people meet in ${kind} on the page that the proxy serves`, async () => {
                const browser = await launch(kind, { acceptInsecureCerts: true });
                try {
                    const at = /** @type {import("./support/server.js").Server} */ (/** @type {unknown} */ ({ http: base, https: base }));
                    const first = await join(browser, at, { login: "anna", room: `met-${kind}` });
                    const second = await join(browser, at, { login: "boris", room: `met-${kind}` });
                    await first.inCall();
                    await second.inCall();
                    assert.match(await first.page.$eval("#url", (element) => /** @type {HTMLInputElement} */ (element).value), /^wss:\/\/localhost:\d+\/rooms\/$/);
                    await first.receivesMedia();
                    await second.receivesMedia();
                } finally {
                    await browser.close();
                }
            });
        }

        test("a page without its slash is found", async () => {
            const { status, headers } = await ask("GET", `${base}/demo/conference?roomName=a`);
            assert.equal(status, 308);
            assert.equal(new URL(headers.location ?? "", `${base}/demo/conference`).href, `${base}/demo/conference/?roomName=a`);
        });

        for (const slash of ["", "/"]) {
            test(`a session of WHIP is where Location says, asked for with "${slash}" at the end`, async () => {
                const url = `${base}/whip/a%3Ab${slash}?login=encoder`;
                const { status, headers, body } = await ask("POST", url, { "content-type": "application/sdp" }, OFFER);
                assert.equal(status, 201, body);
                const session = new URL(headers.location ?? "", url).href;
                assert.match(session, /\/rooms\/whip\/a(:|%3A)b\/[^/?]+$/, "nginx decodes what needs no code");
                const candidate = "a=candidate:1 1 udp 1 192.0.2.7 9 typ host\r\n";
                const type = { "content-type": "application/trickle-ice-sdpfrag", "if-match": headers.etag ?? "" };
                assert.equal((await ask("PATCH", session, type, candidate)).status, 204);
                assert.equal((await ask("DELETE", session)).status, 200);
                assert.equal((await ask("DELETE", session)).status, 404);
            });
        }

        test("clients are counted by their own addresses, whatever they say", async () => {
            const statuses = [];
            for (let room = 0; room < 3; room += 1) {
                const claim = { "content-type": "application/sdp", "x-forwarded-for": `192.0.2.${room}` };
                statuses.push((await ask("POST", `${base}/whip/count${room}`, claim, OFFER, CLIENT)).status);
            }
            // A proxy that hands on what the client says tells nobody apart, which the README says.
            assert.deepEqual(statuses, tellsWho ? [201, 201, 503] : [201, 201, 201]);
        });

        test("the log has the client's own address", { skip: !tellsWho }, async () => {
            const claim = { "x-forwarded-for": "192.0.2.77", upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
            assert.equal((await ask("GET", `${base}/`, claim, "", CLIENT)).status, 101);
            await until("the line is there", async () => (await server.log()).includes(`client=${CLIENT}`));
            assert.doesNotMatch(await server.log(), /client=192\.0\.2\.77/);
        });
    });
}

/**
 * @param {string} method @param {string} url
 * @param {import("node:http").OutgoingHttpHeaders} [headers] @param {string} [body]
 * @param {string} [localAddress]
 * @returns {Promise<{status: number, headers: import("node:http").IncomingHttpHeaders, body: string}>}
 */
function ask(method, url, headers = {}, body = "", localAddress = undefined) {
    return new Promise((resolve, reject) => {
        const where = { method, headers: { ...headers, ...(body ? { "content-length": Buffer.byteLength(body) } : {}) }, localAddress,
            family: 4, rejectUnauthorized: false, agent: false };
        const request = httpsRequest(url, where, (response) => {
            let text = "";
            response.on("data", (data) => { text += data; });
            response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
        });
        request.on("upgrade", (response, socket) => {
            socket.destroy();
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: "" });
        });
        request.on("error", reject);
        request.end(body);
    });
}
