/**
 * The WebSocket as RFC 6455 has it, octet by octet: its own examples, and the frames that a server must
 * refuse.
 * @module
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

const vectors = JSON.parse(readFileSync(new URL("../vectors/rfc6455-websocket.json", import.meta.url), "utf8"));

/** Opcodes (RFC 6455 §5.2). */
const TEXT = 1, CLOSE = 8, PING = 9, PONG = 10;

/** A TCP connection that shook hands with the RFC's own key. */
class Wire {
    received = Buffer.alloc(0);
    ended = false;

    /** @param {import("./support/server.js").Server} server */
    constructor(server) {
        this.socket = connect(server.ports.http, "localhost");
        this.socket.on("data", (bytes) => { this.received = Buffer.concat([this.received, bytes]); });
        this.socket.on("close", () => { this.ended = true; });
        this.socket.on("error", () => {}); // A close follows.
        this.socket.write([
            "GET / HTTP/1.1", `Host: localhost:${server.ports.http}`, "Upgrade: websocket", "Connection: Upgrade",
            `Sec-WebSocket-Key: ${vectors.accept.key}`, "Sec-WebSocket-Version: 13", "", "",
        ].join("\r\n"));
    }

    /** The response's head; what follows stays in `received`. */
    async head() {
        const end = await until("the head is here", () => this.received.indexOf("\r\n\r\n") + 1) - 1;
        const head = this.received.subarray(0, end).toString();
        this.received = this.received.subarray(end + 4);
        return head;
    }

    /** @param {string | Buffer} frame as hex or octets */
    send(frame) {
        this.socket.write(typeof frame === "string" ? Buffer.from(frame, "hex") : frame);
    }

    /** Frames received so far, whole ones only. @returns {{opcode: number, payload: Buffer}[]} */
    frames() {
        const frames = [];
        let rest = this.received;
        while (rest.length >= 2) {
            const short = rest[1] & 127;
            const offset = short === 127 ? 10 : short === 126 ? 4 : 2;
            if (rest.length < offset) {
                break;
            }
            const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short;
            assert.equal(rest[1] & 128, 0, "a server never masks (RFC 6455 §5.1)");
            assert.equal(rest[0] & 0x70, 0, "no extension was negotiated");
            if (rest.length < offset + length) {
                break;
            }
            frames.push({ opcode: rest[0] & 15, payload: rest.subarray(offset, offset + length) });
            rest = rest.subarray(offset + length);
        }
        return frames;
    }

    /** @param {number} opcode @param {string} [containing] */
    hears(opcode, containing = "") {
        return until(`frame ${opcode} with "${containing}"`, () => this.frames().find((f) => f.opcode === opcode && f.payload.includes(containing)),
            { seconds: 10, describe: () => this.frames().map(({ opcode, payload }) => [opcode, payload.toString()]) });
    }

    /** The code the server closed with; 0 if it only hung up. */
    async closeCode() {
        await until("the server hangs up", () => this.ended || this.frames().some(({ opcode }) => opcode === CLOSE), { seconds: 10 });
        const close = this.frames().find(({ opcode }) => opcode === CLOSE);
        return close && close.payload.length >= 2 ? close.payload.readUInt16BE(0) : 0;
    }

    end() {
        this.socket.destroy();
    }
}

/**
 * A client's frame. @param {number} first octet: FIN, RSV and opcode @param {string | Buffer} payload
 * @param {boolean} [masked]
 */
function frame(first, payload, masked = true) {
    const body = Buffer.from(payload);
    const mask = Buffer.from("37fa213d", "hex");
    const header = body.length < 126 ? Buffer.from([first, body.length]) : Buffer.from([first, 126, body.length >> 8, body.length & 255]);
    if (!masked) {
        return Buffer.concat([header, body]);
    }
    header[1] |= 128;
    return Buffer.concat([header, mask, body.map((octet, index) => octet ^ mask[index % 4])]);
}

const CONNECTION = JSON.stringify({ message: "connection", data: [{ appKey: "roomApp", custom: { login: "vector" } }] });

describe("WebSocket frames", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    before(async () => { server = await startServer(); });
    after(async () => { await server?.stop(); });

    /** @param {(wire: Wire) => Promise<void>} body */
    async function shaken(body) {
        const wire = new Wire(server);
        try {
            const head = await wire.head();
            assert.match(head, /^HTTP\/1\.1 101 /);
            await body(wire);
        } finally {
            wire.end();
        }
    }

    test("the handshake answers the RFC's key with the RFC's accept value", async () => {
        const wire = new Wire(server);
        const head = await wire.head();
        assert.ok(head.toLowerCase().split("\r\n").includes(`sec-websocket-accept: ${vectors.accept.accept.toLowerCase()}`), head);
        wire.end();
    });

    for (const { name, hex, payload } of vectors.frames.filter((/** @type {any} */ f) => f.hex && f.name.includes(" masked"))) {
        test(`the RFC's "${name}" is taken and the session goes on`, () => shaken(async (wire) => {
            assert.equal(payload, "Hello");
            wire.send(hex);
            wire.send(frame(0x80 | TEXT, CONNECTION));
            await wire.hears(TEXT, "getUserData");
        }));
    }

    for (const { name, hex } of vectors.frames.filter((/** @type {any} */ f) => f.hex && f.name.includes("unmasked"))) {
        test(`the RFC's "${name}" is refused from a client (§5.1)`, () => shaken(async (wire) => {
            wire.send(hex);
            assert.ok([0, 1002].includes(await wire.closeCode()));
        }));
    }

    for (const { name, hex_header: header, length } of vectors.frames.filter((/** @type {any} */ f) => f.hex_header)) {
        test(`the RFC's "${name}" is refused from a client (§5.1)`, () => shaken(async (wire) => {
            wire.send(header);
            wire.send(Buffer.alloc(length));
            assert.ok([0, 1002, 1009].includes(await wire.closeCode()));
        }));
    }

    test("a message in fragments with a ping between them is one message (§5.4, §5.5)", () => shaken(async (wire) => {
        const [first, second, third] = [CONNECTION.slice(0, 10), CONNECTION.slice(10, 40), CONNECTION.slice(40)];
        wire.send(frame(TEXT, first));
        wire.send(frame(0, second));
        wire.send(frame(0x80 | PING, "Hello"));
        wire.send(frame(0x80, third));
        await wire.hears(PONG, "Hello");
        await wire.hears(TEXT, "getUserData");
    }));

    const refused = [
        { what: "a reserved bit (§5.2)", octets: frame(0xc0 | TEXT, "x"), codes: [1002] },
        { what: "a reserved opcode (§5.2)", octets: frame(0x83, "x"), codes: [1002] },
        { what: "a continuation of nothing (§5.4)", octets: frame(0x80, "x"), codes: [1002] },
        { what: "a fragmented ping (§5.5)", octets: frame(PING, "x"), codes: [1002] },
        { what: "a ping of 126 octets (§5.5)", octets: frame(0x80 | PING, "x".repeat(126)), codes: [1002] },
        { what: "text that is no UTF-8 (§8.1)", octets: frame(0x80 | TEXT, Buffer.from([0xc3, 0x28])), codes: [1007] },
    ];
    for (const { what, octets, codes } of refused) {
        test(`${what} closes the connection`, () => shaken(async (wire) => {
            wire.send(octets);
            const code = await wire.closeCode();
            assert.ok([0, ...codes].includes(code), `closed with ${code}`);
        }));
    }

    test("a close is answered by a close (§5.5.1)", () => shaken(async (wire) => {
        wire.send(frame(0x80 | CLOSE, Buffer.from([3, 232])));
        assert.equal(await wire.closeCode(), 1000);
    }));
});
