/**
 * JSON Web Tokens as an operator's own server would sign them (RFC 7515, HS256).
 * @module
 */

import { createHmac } from "node:crypto";

/** @param {string} secret @param {object} claims @returns {string} */
export function sign(secret, claims) {
    const part = (/** @type {object} */ content) => Buffer.from(JSON.stringify(content)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
