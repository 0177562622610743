/**
 * A client that says exactly what a test wants it to say, good or bad, over the real WebSocket.
 * @module
 */

import { WebSocket } from "ws";
import { until } from "./until.js";

export class RawClient {
    /** @type {{message: string, data: any[]}[]} */
    heard = [];
    /** @type {{code: number, reason: string} | null} */
    closed = null;

    /** @param {string} url */
    constructor(url) {
        this.socket = new WebSocket(url);
        this.socket.on("message", (text) => {
            const message = JSON.parse(String(text));
            this.heard.push(message);
            if (message.message === "ping") {
                this.say("pong", null);
            }
        });
        this.socket.on("close", (code, reason) => { this.closed = { code, reason: String(reason) }; });
        this.socket.on("error", () => {}); // A close follows.
    }

    /** @param {string} url @param {string} login */
    static async session(url, login) {
        const client = new RawClient(url);
        await until("it is open", () => client.socket.readyState === WebSocket.OPEN);
        client.say("connection", { appKey: "roomApp", custom: { login } });
        await client.hears("getUserData");
        return client;
    }

    /** @param {string} message @param {unknown} content */
    say(message, content) {
        this.raw(JSON.stringify({ message, data: [content] }));
    }

    /** @param {string | Buffer} text */
    raw(text) {
        this.socket.send(text);
    }

    /**
     * The header of a text frame (RFC 6455 §5.2) and nothing behind it.
     * @param {number} length that it promises
     */
    announce(length) {
        const header = Buffer.alloc(14);
        header[0] = 0x81;
        header[1] = 0x80 | 127;
        header.writeBigUInt64BE(BigInt(length), 2);
        /** @type {any} */ (this.socket)._socket.write(header);
    }

    /** @param {string} command @param {object} options */
    command(command, options) {
        const operationId = `op-${Math.random()}`;
        this.say("sendData", { operationId, payload: { command, options } });
        return this.answer(operationId);
    }

    /** @param {string} operationId */
    async answer(operationId) {
        return this.hears("DataStatusEvent", (data) => data.operationId === operationId);
    }

    /** @param {string} name @param {(data: any) => boolean} [which] @returns {Promise<any>} */
    async hears(name, which = () => true) {
        const found = await until(`the server says ${name}`, () => this.heard.find(({ message, data }) => message === name && which(data[0])),
            { seconds: 10, describe: () => ({ heard: this.heard.slice(-5), closed: this.closed }) });
        return found.data[0];
    }

    async close() {
        this.socket.close();
        await until("it is closed", () => this.closed);
    }
}
