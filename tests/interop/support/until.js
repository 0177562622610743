/**
 * Waiting for a condition, never for a time.
 * @module
 */

const STEP_MS = 50;

/** Only a failure waits so long; a machine that does ten things at once may need most of it. */
const PATIENCE_S = 60;

/**
 * Asks `probe` until it gives something truthy, and returns that.
 * @template T
 * @param {string} what in words, for the error
 * @param {() => T | Promise<T>} probe an exception counts as "not yet"
 * @param {{seconds?: number, describe?: () => any}} [options] `describe`: the state to show when time is up
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, probe, { seconds = PATIENCE_S, describe } = {}) {
    const deadline = performance.now() + seconds * 1000;
    let last = "";
    for (;;) {
        try {
            const value = await probe();
            if (value) {
                return /** @type {any} */ (value);
            }
            last = "";
        } catch (error) {
            last = ` (${/** @type {Error} */ (error).message})`;
        }
        if (performance.now() > deadline) {
            const state = describe ? `; instead: ${JSON.stringify(await describe())}` : "";
            throw new Error(`waited ${seconds} s in vain until ${what}${last}${state}`);
        }
        await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
}
