/**
 * Pages whose camera and microphone are made of marks: pictures and sound that carry their time (`marks.js`).
 * @module
 */

/**
 * From now on a page that asks for a camera and a microphone gets marks.
 * @param {import("puppeteer-core").Page} page
 * @param {{hz?: number, colour?: string}} [how] of the tone (Firefox has one of 1000 Hz), and what is
 *     below the blocks
 */
export function hasMarks(page, { hz = 1_000, colour = "#2d6a4f" } = {}) {
    return page.evaluate(async (hz, colour) => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
        const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        const [bits, width] = [16, canvas.width / 18];
        const draw = () => {
            const now = Math.round(performance.now()) % (1 << bits);
            const gray = now ^ (now >> 1);
            context.fillStyle = colour;
            context.fillRect(0, 0, canvas.width, canvas.height);
            context.fillStyle = "white";
            context.fillRect(now / 10 % canvas.width, 100, 40, 40);
            for (let block = 0; block < bits + 2; block += 1) {
                const isWhite = block === 0 || (block <= bits && (gray >> (block - 1) & 1));
                context.fillStyle = isWhite ? "white" : "black";
                context.fillRect(block * width, 0, Math.ceil(width), canvas.height / 4);
            }
        };
        draw();
        setInterval(draw, 30);
        const [video] = canvas.captureStream(30).getTracks();
        const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        const audio = navigator.userAgent.includes("Firefox") ? await ofMicrophone() : await ofContext();
        navigator.mediaDevices.getUserMedia = async (wanted = {}) => new MediaStream(
            [wanted.video && video.clone(), wanted.audio && audio()].filter((track) => track instanceof MediaStreamTrack));
        // As the vendor's SDK asks.
        Object.assign(navigator, {
            getUserMedia: (/** @type {MediaStreamConstraints} */ wanted, /** @type {any} */ done, /** @type {any} */ failed) =>
                navigator.mediaDevices.getUserMedia(wanted).then(done, failed),
        });

        /** Made to the sample. */
        async function ofContext() {
            const context = new AudioContext();
            await context.resume();
            const [tone, gain, out] = [context.createOscillator(), context.createGain(), context.createMediaStreamDestination()];
            tone.frequency.value = hz;
            tone.connect(gain).connect(out);
            gain.gain.value = 0;
            const begin = context.currentTime - performance.now() / 1_000;
            const first = Math.ceil(performance.now() / 1_000) + 1;
            for (let second = first; second < first + 60; second += 1) {
                gain.gain.setValueAtTime(0.5, begin + second);
                gain.gain.setValueAtTime(0, begin + second + 0.05);
            }
            tone.start();
            return () => out.stream.getAudioTracks()[0].clone();
        }

        /** Firefox's AudioContext stands still where there are no loudspeakers; its made-up microphone does not. */
        async function ofMicrophone() {
            const [microphone] = (await original({ audio: true })).getTracks();
            /** @type {MediaStreamTrack[]} */
            const tracks = [];
            setInterval(() => tracks.forEach((track) => { track.enabled = performance.now() % 1_000 < 50; }), 5);
            return () => {
                const track = microphone.clone();
                track.enabled = false;
                tracks.push(track);
                return track;
            };
        }
    }, hz, colour);
}

/**
 * Publishes camera and microphone over WHIP, with one codec of each kind; `false` if the browser lacks one.
 * @param {import("puppeteer-core").Page} page
 * @param {string} url
 * @param {{video: string, audio: string}} codecs as `VP8` and `opus`
 */
export function publishMarks(page, url, codecs) {
    return page.evaluate(async (url, codecs) => {
        const peer = new RTCPeerConnection();
        const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
        for (const track of media.getTracks()) {
            const wanted = `${track.kind}/${codecs[/** @type {"video" | "audio"} */ (track.kind)]}`.toLowerCase();
            const all = RTCRtpSender.getCapabilities(track.kind)?.codecs ?? [];
            const found = all.filter(({ mimeType }) => mimeType.toLowerCase() === wanted);
            if (!found.length) {
                return false;
            }
            peer.addTransceiver(track, { direction: "sendonly", streams: [media] }).setCodecPreferences(found);
        }
        await peer.setLocalDescription();
        const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: peer.localDescription?.sdp });
        const answer = await response.text();
        if (!response.ok) {
            throw new Error(`${response.status} ${answer}`);
        }
        await peer.setRemoteDescription({ type: "answer", sdp: answer });
        return true;
    }, url, codecs);
}

/** Ends all that a page publishes. @param {import("puppeteer-core").Page} page */
export function closeAll(page) {
    return page.evaluate(() => globalThis.__connections.forEach((connection) => connection.close()));
}
