/**
 * A Ringvox of our own: signaling with the relay it starts, on free ports, with a data directory and a
 * control socket that nobody else has. Everything is ended by process id.
 * @module
 */

import { execFile, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { closeSync, openSync } from "node:fs";
import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { until } from "./until.js";

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** Where the binaries are: set by the Makefile, which knows the build profile. */
export const BIN_DIR = process.env.RINGVOX_BIN_DIR ?? join(process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target"), "debug");

/**
 * Both ways of moving datagrams, for tests of what moves: loss, addresses, restarts, local ports, browsers in
 * a conference. `RINGVOX_IO` picks one, for a quick look.
 */
export const BACK_ENDS = process.env.RINGVOX_IO ? [process.env.RINGVOX_IO] : ["uring", "mmsg"];

/** For tests of what is said before and inside the datagrams: offers, DTLS, codecs, encodings. */
export const ONE_BACK_END = BACK_ENDS.slice(0, 1);

/** Shards, and so UDP ports in a row. Two are enough for a member's streams to be on different ones. */
export const SHARDS = 2;

/** Servers that run now. A test run that is cut short takes them along. @type {Set<Server>} */
const running = new Set();
process.on("exit", () => running.forEach((server) => server.endNow()));
for (const signal of /** @type {NodeJS.Signals[]} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
    process.once(signal, () => process.exit(1));
}

export class Server {
    /** @type {import("node:child_process").ChildProcess | null} */
    #signaling = null;
    #relay = 0;
    /** As a service manager starts it. @type {import("node:child_process").ChildProcess | null} */
    #ownRelay = null;

    /**
     * @param {string} dir
     * @param {{http: number, https: number, udp: number}} ports
     * @param {"none" | "one" | "both"} manager which of the programs a service manager starts
     */
    constructor(dir, ports, manager) {
        this.dir = dir;
        this.manager = manager;
        this.ports = ports;
        this.http = `http://localhost:${ports.http}`;
        this.ws = `ws://localhost:${ports.http}/`;
        this.wss = `wss://localhost:${ports.https}/`;
        this.config = join(dir, "ringvox.toml");
        this.socket = join(dir, "relay.sock");
        this.logFile = join(dir, "log");
    }

    /** Starts signaling (again), and waits until it answers. */
    async start() {
        const log = openSync(this.logFile, "a");
        /** @type {import("node:child_process").SpawnOptions} */
        const options = { cwd: this.dir, stdio: ["ignore", log, log], detached: true };
        if (this.manager === "both" && !this.#ownRelay) {
            this.#ownRelay = spawn(join(BIN_DIR, "ringvox-relay"), ["--config", this.config], options);
        }
        const variables = this.manager === "none" ? {} : { INVOCATION_ID: "0123456789abcdef0123456789abcdef" };
        const { INVOCATION_ID: _id, NOTIFY_SOCKET: _socket, ...inherited } = process.env;
        const child = spawn(join(BIN_DIR, "ringvox-signaling"), ["--config", this.config], { ...options, env: { ...inherited, ...variables } });
        closeSync(log);
        this.#signaling = child;
        running.add(this);
        /** @type {unknown} */
        let broken;
        child.once("error", (error) => { broken = error; });
        try {
            await until("the server answers", async () => {
                if (broken || child.exitCode !== null) {
                    return true;
                }
                return (await fetch(`${this.http}/`)).ok && (await this.relayPid()) > 0;
            }, { seconds: 20 });
            if (broken || child.exitCode !== null) {
                throw broken ?? new Error(`ringvox-signaling ended at once with ${child.exitCode}`);
            }
        } catch (error) {
            throw new Error(`${error}\n${await this.log()}`);
        }
    }

    /** `systemctl restart`, up to the start: SIGTERM to signaling alone. */
    async retire() {
        const status = await this.end("SIGTERM");
        if (status !== 0) {
            throw new Error(`signaling ended with ${status}`);
        }
    }

    /** kill -9, as a crash would: the relay goes on. */
    async crash() {
        await this.end("SIGKILL");
    }

    /**
     * Ends signaling as a person would, which ends the relay, and cleans up. No suite passes over a panic.
     */
    async stop() {
        const relay = await this.relayPid().catch(() => 0);
        await this.end("SIGTERM");
        if (relay && this.manager !== "none" && isAlive(relay)) {
            process.kill(relay, "SIGTERM");
        }
        if (relay) {
            await until("the relay has ended", () => !isAlive(relay), { seconds: 10 }).catch(() => process.kill(relay, "SIGKILL"));
        }
        running.delete(this);
        const panics = (await this.log()).split("\n").filter((line) => line.includes("panicked"));
        if (!process.env.RINGVOX_KEEP) {
            await rm(this.dir, { recursive: true, force: true });
        }
        if (panics.length) {
            throw new Error(`a panic in the server's log:\n${panics.slice(0, 10).join("\n")}`);
        }
    }

    /** Certificate and key that it made for itself, both PEM. */
    async certificate() {
        const [cert, key] = await Promise.all(["certificate.pem", "certificate-key.pem"].map((name) => readFile(join(this.dir, name))));
        return { cert, key };
    }

    /**
     * `ringvox-relay ctl <what>`, parsed.
     * @param {"inventory" | "stats" | "tap"} what
     * @param {...string} how
     */
    async ctl(what, ...how) {
        const { stdout } = await promisify(execFile)(join(BIN_DIR, "ringvox-relay"), ["--config", this.config, "ctl", what, ...how], { timeout: 10_000 });
        return JSON.parse(stdout);
    }

    /** Process id of the relay that owns our control socket. */
    async relayPid() {
        const { stdout } = await promisify(execFile)("ps", ["-eo", "pid=,ppid=,args="]);
        const line = stdout.split("\n").find((text) => text.includes("ringvox-relay") && text.includes(this.config) && !text.includes(" ctl "));
        this.#relay = Number(line?.trim().split(/\s+/)[0] ?? 0);
        return this.#relay;
    }

    /** Without waiting, when everything is over. */
    endNow() {
        const [signaling, relay] = [this.#signaling?.pid ?? 0, this.#relay].map((pid) => (pid && isAlive(pid) ? pid : 0));
        if (signaling || relay) {
            // Without a manager signaling takes the relay along.
            const both = this.manager === "none" ? [signaling || relay] : [signaling, relay].filter(Boolean);
            both.forEach((pid) => process.kill(pid, "SIGTERM"));
        }
    }

    async log() {
        return readFile(this.logFile, "utf8").catch(() => "(no log)");
    }

    /**
     * @param {NodeJS.Signals} signal
     * @param {{group?: boolean}} [to] `group`: to all its children as well, as Ctrl-C in a terminal does
     * @returns {Promise<number | null>} exit status
     */
    async end(signal, { group = false } = {}) {
        const child = this.#signaling;
        this.#signaling = null;
        if (!child?.pid || child.exitCode !== null || child.signalCode !== null) {
            return child?.exitCode ?? null;
        }
        const ended = new Promise((resolve) => child.once("exit", resolve));
        process.kill(group ? -child.pid : child.pid, signal);
        const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
        const status = await ended;
        clearTimeout(late);
        return /** @type {number | null} */ (status);
    }
}

/**
 * @param {{io?: string, manager?: "none" | "one" | "both", signaling?: string, auth?: string,
 *     rooms?: string, media?: string, api?: string, recording?: string}} [options] who starts the
 *   programs, and lines for these tables of ringvox.toml; files that they name are found in the directory of
 *   the server. With any for recording, it records, into `records` there
 * @param {Record<string, string>} [files] such files, and what stands in them
 * @returns {Promise<Server>}
 */
export async function startServer({ io = "auto", manager = "none", signaling = "", auth = "", rooms = "", media = "", api = "", recording } = {}, files = {}) {
    const dir = await mkdtemp(join(tmpdir(), "ringvox-"));
    const server = new Server(dir, { http: await freePort(), https: await freePort(), udp: await freePorts(SHARDS, isFreeUdp) }, manager);
    const { http, https, udp } = server.ports;
    await writeFile(server.config, `
[relay]
io = "${io}"
shards = ${SHARDS}
base_port = ${udp}
control_socket = "${server.socket}"

[signaling]
http_port = ${http}
https_port = ${https}
data_dir = "${dir}"
relay_binary = "${join(BIN_DIR, "ringvox-relay")}"
${signaling}

[auth]
${auth}

[rooms]
${rooms}

[media]
${media}

[api]
${api}
${recording === undefined ? "" : `
[recording]
directory = "${join(dir, "records")}"
recorder_binary = "${join(BIN_DIR, "ringvox-recorder")}"
${recording}`}
`);
    await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(dir, name), text)));
    await server.start();
    return server;
}

/**
 * A relay without signaling, whose controller a test brings along.
 * @param {string} io
 */
export async function startRelay(io) {
    const dir = await mkdtemp(join(tmpdir(), "ringvox-"));
    const socket = join(dir, "relay.sock");
    const udp = await freePorts(SHARDS, isFreeUdp);
    const flags = ["--io", io, "--shards", String(SHARDS), "--base-port", String(udp), "--control-socket", socket];
    const child = spawn(join(BIN_DIR, "ringvox-relay"), flags, { cwd: dir, stdio: ["ignore", "ignore", "inherit"] });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    process.once("exit", () => child.kill("SIGKILL"));
    await until("the relay listens", () => access(socket).then(() => true), { seconds: 20 });
    return {
        dir,
        socket,
        async stop() {
            child.kill("SIGTERM");
            const status = await ended;
            await rm(dir, { recursive: true, force: true });
            if (status !== 0) {
                throw new Error(`the relay ended with ${status}`);
            }
        },
    };
}

/** @returns {Promise<number>} a TCP port that nobody uses */
export function freePort() {
    return freePorts(1, isFreeTcp);
}

/**
 * Below the range from which Linux takes the ports of outgoing connections (`ip_local_port_range`): such a
 * connection, of a browser that runs beside, would take a free port of that range before the server can.
 * @param {number} count
 * @param {(port: number) => Promise<boolean>} isFree
 * @returns {Promise<number>} the first of this many ports in a row that nobody uses
 */
async function freePorts(count, isFree) {
    for (let attempt = 0; attempt < 50; attempt += 1) {
        const base = 20_000 + Math.floor(Math.random() * 12_000);
        const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(base + index)));
        if (free.every(Boolean)) {
            return base;
        }
    }
    throw new Error("no free ports");
}

/** @param {number} port @returns {Promise<boolean>} */
function isFreeTcp(port) {
    return new Promise((resolve) => {
        const server = createServer();
        server.once("error", () => resolve(false));
        server.listen(port, "::", () => server.close(() => resolve(true)));
    });
}

/** @param {number} port @returns {Promise<boolean>} */
function isFreeUdp(port) {
    return new Promise((resolve) => {
        const socket = createSocket("udp6");
        socket.once("error", () => resolve(false));
        socket.bind(port, "::", () => socket.close(() => resolve(true)));
    });
}

/** @param {number} pid */
export function isAlive(pid) {
    try {
        process.kill(pid, 0);
        return true;
    } catch {
        return false;
    }
}
