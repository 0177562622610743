/**
 * How loud a microphone is, as a moving bar.
 * @module
 */

const PERIOD_MS = 100;
/** Quieter than this is silence, in decibels of full scale. */
const FLOOR_DB = -60;

export class LevelMeter {
    #meter;
    /** @type {AudioContext | null} */
    #context = null;
    /** @type {MediaStreamAudioSourceNode | null} */
    #source = null;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    #timer;

    /** @param {HTMLMeterElement} meter from 0 to 1 */
    constructor(meter) {
        this.#meter = meter;
    }

    /**
     * Shows this stream's sound from now on; nothing at all without one.
     * @param {MediaStream | null} media
     */
    follow(media) {
        clearInterval(this.#timer);
        this.#source?.disconnect();
        this.#source = null;
        this.#meter.value = 0;
        this.#meter.hidden = !media?.getAudioTracks().length;
        if (media && !this.#meter.hidden) {
            this.#context ??= new AudioContext();
            this.#context.resume().catch(() => {}); // Not before somebody touched the page: then the bar stays low.
            const analyser = new AnalyserNode(this.#context, { fftSize: 1024 });
            this.#source = this.#context.createMediaStreamSource(media);
            this.#source.connect(analyser);
            const samples = new Float32Array(analyser.fftSize);
            this.#timer = setInterval(() => {
                analyser.getFloatTimeDomainData(samples);
                this.#meter.value = level(samples);
            }, PERIOD_MS);
        }
    }
}

/** @param {Float32Array} samples @returns {number} 0 to 1, even steps being even loudness */
function level(samples) {
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    return power === 0 ? 0 : Math.min(1, Math.max(0, 1 - (10 * Math.log10(power)) / FLOOR_DB));
}
