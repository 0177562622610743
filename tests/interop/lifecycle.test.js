/**
 * Starting and stopping as people do: Ctrl-C, SIGTERM, https with the certificate made on first run, mistakes
 * in the settings, a relay that dies.
 * @module
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:https";
import { test } from "node:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { launch } from "./support/browsers.js";
import { join as joinRoom } from "./support/conference.js";
import { BIN_DIR, isAlive, startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const signal of /** @type {NodeJS.Signals[]} */ (["SIGINT", "SIGTERM"])) {
    test(`${signal} to the whole process group, as a terminal sends it, stops both cleanly`, async () => {
        const server = await startServer();
        const relay = await server.relayPid();
        try {
            assert.equal(await server.end(signal, { group: true }), 0, await server.log());
            await until("the relay has ended", () => !isAlive(relay), { seconds: 10 });
            assert.equal(existsSync(server.socket), false, "the control socket is removed");
            assert.doesNotMatch(await server.log(), /panicked/);
        } finally {
            await server.stop();
        }
    });
}

for (const manager of /** @type {("one" | "both")[]} */ (["one", "both"])) {
    test(`SIGTERM of a service manager that started ${manager} ends signaling alone, and clients are told to come back`, async () => {
        const server = await startServer({ manager });
        try {
            const relay = await server.relayPid();
            const socket = new WebSocket(server.ws);
            await until("ws opens", () => socket.readyState === WebSocket.OPEN);
            const closed = new Promise((resolve) => socket.once("close", resolve));
            await server.retire();
            assert.equal(await closed, 1012);
            assert.ok(isAlive(relay), "the relay goes on");
            await server.start();
            assert.equal(await server.relayPid(), relay, "and is taken over");
            assert.match(await server.log(), /the relay goes on with all calls/);
        } finally {
            await server.stop();
        }
    });
}

test("a relay that was started by itself is left to whoever started it, also by Ctrl-C", async () => {
    const server = await startServer({ manager: "both" });
    try {
        const relay = await server.relayPid();
        assert.equal(await server.end("SIGINT"), 0);
        assert.ok(isAlive(relay));
    } finally {
        await server.stop();
    }
});

test("a relay that an earlier signaling started ends with the last one", async () => {
    const server = await startServer();
    try {
        const relay = await server.relayPid();
        await server.crash();
        await server.start();
        assert.equal(await server.end("SIGTERM"), 0);
        await until("the relay has ended", () => !isAlive(relay), { seconds: 10 });
    } finally {
        await server.stop();
    }
});

test("the start prints where to go and how to stop", async () => {
    const server = await startServer();
    try {
        const log = await server.log();
        assert.match(log, new RegExp(`http://localhost:${server.ports.http}/`));
        assert.match(log, new RegExp(`https://[^ ]+:${server.ports.https}/`));
        assert.match(log, /Ctrl-C/);
    } finally {
        await server.stop();
    }
});

test("https and wss serve the same with a certificate of their own, which survives a restart", async () => {
    const server = await startServer();
    try {
        const first = await certificate(server.ports.https);
        const socket = new WebSocket(`wss://localhost:${server.ports.https}/`, { rejectUnauthorized: false });
        await until("wss opens", () => socket.readyState === WebSocket.OPEN);
        socket.terminate();
        await server.end("SIGTERM");
        await server.start();
        assert.equal(await certificate(server.ports.https), first);
    } finally {
        await server.stop();
    }
});

test("a relay that dies is started again, and people can talk again", async () => {
    const server = await startServer();
    const browser = await launch("chromium");
    try {
        const first = await server.relayPid();
        process.kill(first, "SIGKILL");
        await until("there is another relay", async () => {
            const now = await server.relayPid();
            return now && now !== first && (await server.ctl("stats"));
        });
        const alice = await joinRoom(browser, server, { login: "alice", room: "again" });
        const bob = await joinRoom(browser, server, { login: "bob", room: "again" });
        await Promise.all([alice.inCall(), bob.inCall()]);
        await Promise.all([alice.receivesMedia(), bob.receivesMedia()]);
    } finally {
        await browser.close();
        await server.stop();
    }
});

test("a mistake in the settings is named, with what is accepted", async () => {
    const dir = await mkdtemp(join(tmpdir(), "ringvox-"));
    const config = join(dir, "ringvox.toml");
    try {
        for (const [text, expected] of [
            ['[relay]\nio = "fast"', /relay\.io.*"auto", "uring" or "mmsg"/],
            ["[relay]\nshard = 1", /relay\.shard\b.*shards/],
            ["[signaling]\nhttp_port = 70000", /signaling\.http_port.*0 to 65535/],
            ["[rooms]\nmax_participants = 0", /rooms\.max_participants.*1 to/],
            ["[media]\nvideo = [\"av2\"]", /media\.video.*vp8/],
            ["[nonsense]\nx = 1", /nonsense.*\[relay\]/],
            ["what is this", /TOML/],
        ]) {
            await writeFile(config, String(text));
            const results = await Promise.all(["ringvox-signaling", "ringvox-relay"].map((program) => run(program, "--config", config)));
            const refused = results.filter(({ code }) => code !== 0);
            assert.ok(refused.length > 0, `${text}: somebody refuses`);
            assert.match(refused.map(({ output }) => output).join("\n"), /** @type {RegExp} */ (expected));
        }
        for (const program of ["ringvox-signaling", "ringvox-relay"]) {
            const help = await run(program, "--help");
            assert.equal(help.code, 0);
            assert.match(help.output, /--config/);
        }
    } finally {
        await rm(dir, { recursive: true, force: true });
    }
});

/**
 * @param {number} port
 * @returns {Promise<string>} fingerprint of the certificate of a server that serves our page
 */
function certificate(port) {
    return new Promise((resolve, reject) => {
        get({ host: "localhost", port, path: "/demo/conference/", rejectUnauthorized: false, agent: false }, (reply) => {
            const { fingerprint256 } = /** @type {import("node:tls").TLSSocket} */ (reply.socket).getPeerCertificate();
            reply.resume();
            reply.statusCode === 200 ? resolve(fingerprint256) : reject(new Error(`status ${reply.statusCode}`));
        }).on("error", reject);
    });
}

/**
 * @param {string} program
 * @param {...string} args
 * @returns {Promise<{code: number | string, output: string}>} it is ended if it starts to serve
 */
function run(program, ...args) {
    return new Promise((resolve) => {
        const child = execFile(join(BIN_DIR, program), args, { timeout: 5000 }, (error, stdout, stderr) => {
            const code = error ? (error.killed ? 0 : error.code ?? 1) : 0;
            resolve({ code, output: stdout + stderr });
        });
        child.stderr?.on("data", (text) => /ready|running/i.test(text) && child.kill());
    });
}
