/**
 * Making and finding elements. Text goes in as text only: nothing here ever reads markup.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";

/** Drawn in a square of 24. @type {Record<string, string>} */
const ICONS = {
    brand: "M12 12h.01M5.600 18.400a9 9 0 0 1 0-12.800M18.400 5.600a9 9 0 0 1 0 12.800",
    microphone: "M9 6a3 3 0 0 1 6 0v5a3 3 0 0 1-6 0zM5 11a7 7 0 0 0 14 0M12 18v3",
    camera: "M3 8a2 2 0 0 1 2-2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM15 11l6-4v10l-6-4",
    slash: "M4 3l16 18",
    screen: "M3 5h18v11H3zM8 20h8M12 16v4M12 13V8M9.500 10.500 12 8l2.500 2.500",
    devices: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
    stop: "M7 7h10v10H7z",
    leave: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
};

/**
 * The element of this id, which is there.
 * @param {string} id
 * @returns {any}
 */
export const $ = (id) => document.getElementById(id);

/**
 * Makes an element. `true` sets an attribute without a value, `false` and `undefined` leave it out.
 * @param {string} tag
 * @param {Record<string, string | number | boolean | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== undefined && value !== false) {
            made.setAttribute(name, value === true ? "" : String(value));
        }
    }
    made.append(...children);
    return made;
}

/** @param {...string} names of ICONS, drawn over each other; `slash` is hidden until something is off */
export function icon(...names) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    for (const name of names) {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("d", ICONS[name]);
        path.setAttribute("class", name);
        svg.append(path);
    }
    return svg;
}
