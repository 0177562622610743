/**
 * What a person sees and hears: moving pictures and a voice, or none of them.
 * @module
 */

import { figures, picture, received } from "./figures.js";
import { until } from "./until.js";

/** @typedef {import("puppeteer-core").Page} Page */

/** No pixel of a picture that was all black becomes brighter than this on its way. */
const BLACK = 16;

/** A beep of a made-up microphone has a thousand times as much, silence has nothing. */
const SILENCE = 1e-5;

/** The beeps of made-up microphones come more often than this. */
const SILENT_S = 1.5;

/**
 * Pictures are decoded and a voice is heard on each of the connections that receive, of which there are so
 * many.
 * @param {Page} page
 * @param {number} count
 */
export async function receives(page, count) {
    const receivers = async () => (await figures(page)).filter((one) => one.receives && one.state === "connected");
    const describe = () => figures(page);
    const before = await until(`${count} connections receive`, async () => {
        const now = await receivers();
        return now.length === count && now;
    }, { describe });
    await until("all decode 20 more frames and hear something", async () => {
        const now = await receivers();
        return now.length === count && now.every(({ video, audio }, index) =>
            video.framesDecoded >= before[index].video.framesDecoded + 20 && audio.energy > before[index].audio.energy + SILENCE);
    }, { describe });
}

/** What is shown is not black, and changes. @param {Page} page @param {string} selector */
export async function moves(page, selector) {
    const first = await until(`there is a picture in ${selector}`, async () => {
        const now = await picture(page, selector);
        return now && now.brightness > BLACK && now;
    });
    await until(`it moves in ${selector}`, async () => (await picture(page, selector))?.print !== first.print);
}

/** A camera that is muted goes on sending: black. @param {Page} page @param {string} selector */
export async function isBlack(page, selector) {
    const describe = () => picture(page, selector);
    await until(`${selector} is black`, async () => ((await picture(page, selector))?.brightness ?? 255) < BLACK, { describe });
}

/** A microphone that is muted goes on sending: silence. @param {Page} page */
export async function isSilent(page) {
    await until("nothing is heard", async () => {
        const before = await received(page);
        await until("some more sound has come", async () => (await received(page)).seconds > before.seconds + SILENT_S);
        return (await received(page)).energy < before.energy + SILENCE;
    });
}
