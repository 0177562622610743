/**
 * A bad line between clients of WHIP and WHEP and a server: requests go through unchanged, and the answers
 * that come back lead media through a NAT that loses packets. The clients know nothing of it.
 * @module
 */

import { createServer, request } from "node:http";
import { isRtcp, startNat } from "./nat.js";
import { SHARDS } from "./server.js";

/** Of the video codecs that are published here (RFC 8866 §6.6). */
const VIDEO = /^a=rtpmap:(\d+) (?:VP8|H264)\/90000/gm;

/** In the first octet of a packet (RFC 3550 §5.1). */
const PADDED = 0x20;

export class Line {
    /** Payload types of video in the answers since it was mended last. @type {Set<number>} */
    video = new Set();

    /** @param {import("./nat.js").Nat} nat @param {import("node:http").Server} door */
    constructor(nat, door) {
        this.nat = nat;
        this.door = door;
    }

    /** To be used in place of the server's. */
    get http() {
        return `http://localhost:${/** @type {import("node:net").AddressInfo} */ (this.door.address()).port}`;
    }

    /** @param {string} answer */
    lead(answer) {
        [...answer.matchAll(VIDEO)].forEach(([, type]) => this.video.add(Number(type)));
        return this.nat.lead(answer);
    }

    /**
     * From now on each such video packet is lost the first time that it comes by.
     * @param {"relay" | "client"} to
     * @param {number} each one of so many
     * @param {{forGood?: boolean}} [how] `forGood`: what comes again by RTX (RFC 4588) is lost, too
     * @returns {Losses}
     */
    loseVideo(to, each, { forGood = false } = {}) {
        const losses = new Losses(each);
        if (forGood) {
            this.nat.loses = (datagram, direction) => direction === to && isRtp(datagram)
                && (!this.video.has(datagram[1] & 0x7f) || losses.loses(datagram));
            return losses;
        }
        this.nat.loses = (datagram, direction) => direction === to && this.#isVideo(datagram, to) && losses.loses(datagram);
        return losses;
    }

    /**
     * A client that pads a packet probes its line with it: there is no video in it, nor does it come again.
     * @param {Buffer} datagram @param {"relay" | "client"} to
     */
    #isVideo(datagram, to) {
        const isProbe = to === "relay" && (datagram[0] & PADDED) !== 0;
        return isRtp(datagram) && !isProbe && this.video.has(datagram[1] & 0x7f);
    }

    /** Nothing is lost, and the next client may mean other things by its payload types. */
    mend() {
        this.nat.loses = () => false;
        this.video.clear();
    }

    close() {
        this.door.close();
        this.door.closeAllConnections();
        this.nat.close();
    }
}

/** What was lost, and what came again under the same SSRC and number. */
export class Losses {
    #seen = 0;
    /** @type {Map<string, Buffer>} */
    #lost = new Map();
    /** Came again. */
    again = 0;
    /** Of those: not the octets that were lost. */
    different = 0;

    /** @param {number} each */
    constructor(each) {
        this.each = each;
    }

    /** So many are still missing. */
    get missing() {
        return this.#lost.size;
    }

    /** @param {Buffer} packet */
    loses(packet) {
        const name = packet.toString("hex", 8, 12) + packet.toString("hex", 2, 4);
        const lost = this.#lost.get(name);
        if (lost) {
            this.again += 1;
            this.different += lost.equals(packet) ? 0 : 1;
            this.#lost.delete(name);
            return false;
        }
        this.#seen += 1;
        if (this.#seen % this.each) {
            return false;
        }
        this.#lost.set(name, Buffer.from(packet));
        return true;
    }
}

/** @param {Buffer} datagram */
function isRtp(datagram) {
    return datagram.length >= 12 && datagram[0] >> 6 === 2 && !isRtcp(datagram);
}

/** @param {import("./server.js").Server} server */
export async function startLine(server) {
    const nat = await startNat(Array.from({ length: SHARDS }, (_, shard) => server.ports.udp + shard));
    const door = createServer();
    const line = new Line(nat, door);
    door.on("request", (asked, reply) => {
        const { method, headers, url: path } = asked;
        const passed = request({ host: "localhost", port: server.ports.http, method, path, headers }, async (answered) => {
            const chunks = [];
            for await (const chunk of answered) {
                chunks.push(chunk);
            }
            const body = Buffer.concat(chunks);
            const isSdp = answered.headers["content-type"]?.startsWith("application/sdp");
            const { "content-length": _length, "transfer-encoding": _encoding, ...rest } = answered.headers;
            reply.writeHead(answered.statusCode ?? 502, rest);
            reply.end(isSdp ? line.lead(body.toString()) : body);
        });
        passed.on("error", () => reply.destroy());
        asked.pipe(passed);
    });
    await new Promise((resolve) => door.listen(0, "localhost", () => resolve(undefined)));
    return line;
}
