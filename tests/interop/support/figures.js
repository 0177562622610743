/**
 * What a page's connections and pictures say: the proof that media flows.
 * @module
 */

/**
 * @typedef {object} Figures of one connection that is not closed
 * @property {string} state
 * @property {boolean} receives
 * @property {string} dtls
 * @property {string} srtp
 * @property {{framesEncoded: number, bytes: number, codec: string}} sent video
 * @property {{framesDecoded: number, bytes: number, codec: string, keyFrames: number}} video received
 * @property {{energy: number, seconds: number, bytes: number, codec: string}} audio received
 */

/**
 * @param {import("puppeteer-core").Page} page
 * @returns {Promise<Figures[]>}
 */
export function figures(page) {
    return page.evaluate(async () => {
        const open = globalThis.__connections.filter((connection) => connection.connectionState !== "closed");
        return Promise.all(open.map(async (connection) => {
            const report = await connection.getStats();
            const all = [...report.values()];
            const find = (type, kind) => all.find((entry) => entry.type === type && entry.kind === kind) ?? {};
            const codec = (entry) => report.get(entry.codecId)?.mimeType ?? "";
            const transport = all.find((entry) => entry.type === "transport") ?? {};
            const [out, video, audio] = [find("outbound-rtp", "video"), find("inbound-rtp", "video"), find("inbound-rtp", "audio")];
            return {
                state: connection.connectionState,
                receives: connection.getReceivers().some(({ track }) => track) && !out.id,
                dtls: transport.tlsVersion ?? "",
                srtp: transport.srtpCipher ?? "",
                sent: { framesEncoded: out.framesEncoded ?? 0, bytes: out.bytesSent ?? 0, codec: codec(out) },
                video: { framesDecoded: video.framesDecoded ?? 0, bytes: video.bytesReceived ?? 0, codec: codec(video), keyFrames: video.keyFramesDecoded ?? 0 },
                audio: { energy: audio.totalAudioEnergy ?? 0, seconds: audio.totalSamplesDuration ?? 0, bytes: audio.bytesReceived ?? 0, codec: codec(audio) },
            };
        }));
    });
}

/**
 * Sums of what the page receives.
 * @param {import("puppeteer-core").Page} page
 */
export async function received(page) {
    const all = await figures(page);
    const sum = (pick) => all.reduce((total, one) => total + pick(one), 0);
    return {
        frames: sum((one) => one.video.framesDecoded),
        energy: sum((one) => one.audio.energy),
        seconds: sum((one) => one.audio.seconds),
        audioBytes: sum((one) => one.audio.bytes),
    };
}

/**
 * What a `<video>` shows now: mean brightness (0 to 255), and a fingerprint that differs from picture to
 * picture.
 * @param {import("puppeteer-core").Page} page
 * @param {string} selector
 * @returns {Promise<{brightness: number, print: string} | null>} null while it shows nothing
 */
export function picture(page, selector) {
    return page.evaluate((query) => {
        const video = /** @type {HTMLVideoElement | null} */ (document.querySelector(query));
        if (!video?.videoWidth) {
            return null;
        }
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [32, 24];
        const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        context.drawImage(video, 0, 0, 32, 24);
        const { data } = context.getImageData(0, 0, 32, 24);
        const bytes = [...data].filter((_, index) => index % 4 !== 3);
        return { brightness: bytes.reduce((sum, value) => sum + value, 0) / bytes.length, print: bytes.join() };
    }, selector);
}
