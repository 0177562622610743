/**
 * A talk of two: the other is big, we are small.
 * @module
 */

import { Call } from "../shared/call.js";

new Call({
    lead: "For two people. Your browser will ask for camera and microphone.",
    kind: "pair",
    others: 1,
    words: { "room-full": "Current room is full: this page is for two, and two people are in it." },
    screen: () => null,
});
