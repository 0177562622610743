/**
 * How good a stream's connection is, from what `getStats` counts: loss, delay and jitter of the last two
 * seconds.
 * @module
 */

import { CONNECTION_QUALITY as QUALITY } from "./constants.js";

const PERIOD_MS = 2_000;

/**
 * From here on it is no longer PERFECT, or already BAD. Voice is understood up to about 3 % of loss and 300
 * ms there and back; the jitter buffer hides 30 ms without a word.
 */
const LIMITS = {
    loss: { good: 0.01, bad: 0.05 },
    rtt: { good: 0.2, bad: 0.5 },
    jitter: { good: 0.03, bad: 0.1 },
};

/**
 * @typedef {object} Quality
 * @property {string} quality one of CONNECTION_QUALITY
 * @property {number} loss share of the packets of the last period that did not arrive, 0 to 1
 * @property {number} rtt seconds there and back
 * @property {number} jitter seconds
 */

/**
 * @typedef {{arrived: number, lost: number, rtt: number, jitter: number}} Counted sums since the stream began
 */

/**
 * @param {RTCStatsReport} report
 * @param {boolean} published what we send is judged by what the server reports back, the rest by what we
 *     count
 * @returns {Counted}
 */
export function count(report, published) {
    /** @type {any[]} */
    const all = [...report.values()];
    const pair = all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
    const rtps = all.filter(({ type }) => type === (published ? "remote-inbound-rtp" : "inbound-rtp"));
    const sum = (/** @type {any[]} */ from, /** @type {string} */ key) => from.reduce((total, entry) => total + (entry[key] ?? 0), 0);
    const lost = Math.max(0, sum(rtps, "packetsLost"));
    const sent = sum(all.filter(({ type }) => type === "outbound-rtp"), "packetsSent");
    return {
        lost,
        arrived: published ? Math.max(0, sent - lost) : sum(rtps, "packetsReceived"),
        rtt: Math.max(pair?.currentRoundTripTime ?? 0, ...rtps.map(({ roundTripTime }) => roundTripTime ?? 0)),
        jitter: Math.max(0, ...rtps.map(({ jitter }) => jitter ?? 0)),
    };
}

/**
 * @param {Counted} before
 * @param {Counted} now
 * @returns {Quality}
 */
export function judge(before, now) {
    const lost = Math.max(0, now.lost - before.lost);
    const arrived = Math.max(0, now.arrived - before.arrived);
    if (arrived === 0) {
        return { quality: QUALITY.BAD, loss: 1, rtt: now.rtt, jitter: now.jitter }; // Even a muted stream sends.
    }
    const facts = { loss: lost / (lost + arrived), rtt: now.rtt, jitter: now.jitter };
    const over = (/** @type {"good" | "bad"} */ level) =>
        /** @type {(keyof typeof LIMITS)[]} */ (Object.keys(LIMITS)).some((fact) => facts[fact] > LIMITS[fact][level]);
    return { quality: over("bad") ? QUALITY.BAD : over("good") ? QUALITY.GOOD : QUALITY.PERFECT, ...facts };
}

/** Asks every two seconds, and tells each verdict. */
export class QualityWatch {
    #timer;
    /** @type {Counted | null} */
    #before = null;

    /**
     * @param {() => Promise<Counted | null>} ask null: nothing to judge now
     * @param {(quality: Quality) => void} tell
     */
    constructor(ask, tell) {
        this.#timer = setInterval(() => this.#look(ask, tell).catch(() => {}), PERIOD_MS);
    }

    stop() {
        clearInterval(this.#timer);
    }

    /** @param {() => Promise<Counted | null>} ask @param {(quality: Quality) => void} tell */
    async #look(ask, tell) {
        const now = await ask();
        if (now && this.#before) {
            tell(judge(this.#before, now));
        }
        this.#before = now;
    }
}
