/**
 * The tiles of the others: the first are always there, more come when they are needed.
 * @module
 */

import { Tile } from "./tile.js";

const ORDINALS = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth"];

export class Seats {
    #stage;
    #most;
    /** @type {Tile[]} */
    #tiles = [];

    /** @param {HTMLElement} stage @param {{always: number, most: number}} count */
    constructor(stage, { always, most }) {
        this.#stage = stage;
        this.#most = most;
        Array.from({ length: always }, () => this.#add());
        this.#count();
    }

    /** @param {string} key who sits there @returns {Tile | undefined} */
    of(key) {
        return this.#tiles.find(({ owner }) => owner === key);
    }

    /**
     * Their tile, or a free one that becomes theirs; null if there is none left.
     * @param {string} key
     * @param {string} [name]
     */
    take(key, name = key) {
        const free = () => this.#tiles.find(({ owner }) => owner === null) ?? (this.#tiles.length < this.#most ? this.#add() : null);
        const tile = this.of(key) ?? free();
        tile?.occupy(key, name);
        this.#count();
        return tile;
    }

    /** @param {string} key */
    free(key) {
        this.of(key)?.free();
        this.#count();
    }

    /** All that are there, free ones too. */
    tiles() {
        return [...this.#tiles];
    }

    freeAll() {
        this.#tiles.forEach((tile) => tile.free());
        this.#count();
    }

    #add() {
        const index = this.#tiles.length;
        const tile = new Tile(`participant${index + 1}`, { label: `${ORDINALS[index] ?? `No. ${index + 1}`} participant` });
        this.#tiles.push(tile);
        this.#stage.append(tile.element);
        return tile;
    }

    /** The style sheet lays out by the number of pictures, ours among them. */
    #count() {
        this.#stage.dataset.count = String(1 + this.#tiles.filter(({ owner }) => owner !== null).length);
    }
}
