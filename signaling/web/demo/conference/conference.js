/**
 * A conference: three people in a triangle, up to nine in a gallery.
 * @module
 */

import { Call } from "../shared/call.js";

/** @type {Call} */
const call = new Call({
    lead: "For up to nine people. Your browser will ask for camera and microphone.",
    kind: "gallery",
    others: 8,
    seats: 2,
    // Somebody who shares a screen has a second place.
    screen: (login, name) => call.seats.take(name, `${login} (screen)`),
    screenGone: (tile) => tile.owner !== null && call.seats.free(tile.owner),
});
