/**
 * A NAT between a browser and the relay: datagrams of each of the browser's sockets leave by a socket of
 * their own, and all of those can be exchanged at once for others, as a NAT does that has forgotten its
 * bindings (RFC 4787 §4.3).
 * @module
 */

import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";

/** STUN (RFC 8489 §5): its cookie stands at 4, its transaction id at 8. */
const COOKIE = 0x2112a442;
const BINDING_REQUEST = 0x0001;
const BINDING_SUCCESS = 0x0101;

/** @typedef {import("node:dgram").Socket} Socket */

/** One of the browser's sockets, as the relay sees it. */
class Binding {
    /** @type {Socket | null} */
    outside = null;
    /** Transaction ids of the relay's own requests. @type {Set<string>} */
    asked = new Set();
    /** The browser has answered one of them. */
    answered = false;
}

export class Nat {
    /** @type {{inside: Socket, relay: number}[]} */
    #doors = [];
    /** @type {Map<string, Binding>} */
    #bindings = new Map();
    #rebound = false;
    /**
     * Whether this datagram is lost on its way.
     * @type {(datagram: Buffer, to: "relay" | "client") => boolean}
     */
    loses = () => false;

    /** @param {string} address of this machine */
    constructor(address) {
        this.address = address;
    }

    /** What the browser is to be told in place of the relay's port. @param {number} relay */
    async open(relay) {
        const inside = await bind(this.address);
        inside.on("message", (datagram, from) => this.#toRelay(inside, relay, datagram, from));
        this.#doors.push({ inside, relay });
    }

    /** By port of the relay, the port that stands for it. @returns {Record<number, number>} */
    get ports() {
        return Object.fromEntries(this.#doors.map(({ inside, relay }) => [relay, inside.address().port]));
    }

    /** An answer in which its address and ports take the place of the relay's. @param {string} sdp */
    lead(sdp) {
        return throughNat(sdp, this.address, this.ports);
    }

    /** Exchanges all sockets towards the relay. Nobody on either side is told. */
    rebind() {
        this.#rebound = true;
        for (const binding of this.#bindings.values()) {
            binding.outside?.close();
            binding.outside = null;
            binding.answered = false;
        }
    }

    /** How many of the browser's sockets were asked by the relay, since the exchange, and have answered. */
    get answered() {
        return [...this.#bindings.values()].filter((binding) => binding.answered).length;
    }

    /** Where the relay hears the browser now. */
    get outside() {
        const sockets = [...this.#bindings.values()].flatMap(({ outside }) => outside ?? []);
        return sockets.map((socket) => `${this.address}:${socket.address().port}`);
    }

    close() {
        this.#doors.forEach(({ inside }) => inside.close());
        this.#bindings.forEach(({ outside }) => outside?.close());
        this.#bindings.clear();
    }

    /**
     * After the exchange a connection that only receives sends nothing but checks until it has answered the
     * relay: so it is the answer that lets its media go on, and not a report that happened to come.
     * @param {Socket} inside
     * @param {number} relay
     * @param {Buffer} datagram
     * @param {import("node:dgram").RemoteInfo} from
     */
    #toRelay(inside, relay, datagram, from) {
        const key = `${from.address}:${from.port} ${relay}`;
        const binding = this.#bindings.get(key) ?? new Binding();
        this.#bindings.set(key, binding);
        binding.outside ??= this.#outside(inside, from, binding);
        if (stunType(datagram) === BINDING_SUCCESS && binding.asked.has(transactionId(datagram))) {
            binding.answered = true;
        }
        if ((!this.#rebound || binding.answered || !isRtcp(datagram)) && !this.loses(datagram, "relay")) {
            binding.outside.send(datagram, relay, this.address);
        }
    }

    /** @param {Socket} inside @param {import("node:dgram").RemoteInfo} to @param {Binding} binding */
    #outside(inside, to, binding) {
        const socket = createSocket("udp4");
        socket.bind(0, this.address);
        socket.on("message", (datagram) => {
            if (stunType(datagram) === BINDING_REQUEST) {
                binding.asked.add(transactionId(datagram));
            }
            this.loses(datagram, "client") || inside.send(datagram, to.port, to.address);
        });
        return socket;
    }
}

/** Ports of the relay that there is to be a way through. @param {number[]} ports */
export async function startNat(ports) {
    const nat = new Nat(outerAddress());
    for (const port of ports) {
        await nat.open(port);
    }
    return nat;
}

/**
 * Runs in the page, before anything else does: in answers, the NAT's address and ports take the place of the
 * relay's.
 * @param {import("puppeteer-core").Page} page @param {Nat} nat
 */
export function behindNat(page, nat) {
    return page.evaluateOnNewDocument(`(${takeAnswersThroughNat})(${throughNat}, "${nat.address}", ${JSON.stringify(nat.ports)})`);
}

/** Runs in the page. @param {typeof throughNat} through @param {string} address @param {Record<number, number>} ports */
function takeAnswersThroughNat(through, address, ports) {
    const original = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (description) {
        return original.call(this, { type: description.type, sdp: through(description.sdp ?? "", address, ports) });
    };
}

/** Runs in the page as well. @param {string} answer @param {string} address @param {Record<number, number>} ports */
function throughNat(answer, address, ports) {
    const told = new Set();
    return answer.replace(/^a=candidate:\S+ (\d) udp (\d+) \S+ (\d+) typ host.*\r\n/gm, (_, component, priority, port) => {
        const line = `a=candidate:1 ${component} udp ${priority} ${address} ${ports[port]} typ host\r\n`;
        const again = told.has(port);
        told.add(port);
        return again ? "" : line;
    });
}

/** The one that Firefox takes: it pairs no loopback candidates where there is another address. */
function outerAddress() {
    const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
    return all.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

/** @param {string} address @returns {Promise<Socket>} */
async function bind(address) {
    const socket = createSocket("udp4");
    await new Promise((resolve, reject) => socket.once("error", reject).bind(0, address, () => resolve(undefined)));
    return socket;
}

/** @param {Buffer} datagram @returns {number | null} */
function stunType(datagram) {
    return datagram.length >= 20 && datagram.readUInt32BE(4) === COOKIE ? datagram.readUInt16BE(0) : null;
}

/** @param {Buffer} stun */
function transactionId(stun) {
    return stun.subarray(8, 20).toString("hex");
}

/** RFC 5761 §4. @param {Buffer} datagram */
export function isRtcp(datagram) {
    return datagram.length >= 8 && datagram[0] >> 6 === 2 && datagram[1] >= 192 && datagram[1] <= 223;
}
