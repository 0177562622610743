/**
 * The SDK's reference and package do what they say: the example runs, what is listed exists, the package
 * brings types.
 * @module
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as RoomApi from "../../signaling/web/sdk/index.js";
import { Participant, PublishedStream } from "../../signaling/web/sdk/participant.js";
import { Room } from "../../signaling/web/sdk/room.js";
import { Session } from "../../signaling/web/sdk/session.js";
import { Stream } from "../../signaling/web/sdk/stream.js";
import { launch, newPerson } from "./support/browsers.js";
import { received } from "./support/figures.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const SDK = join(HERE, "../../signaling/web/sdk");
const run = promisify(execFile);

/** Long enough for npm on a busy machine. */
const PACK_MS = 240_000;

describe("the SDK's reference", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    /** @type {import("puppeteer-core").Browser} */
    let browser;
    let reference = "";

    before(async () => {
        [server, browser] = await Promise.all([startServer(), launch("chromium")]);
        reference = await readFile(join(SDK, "README.md"), "utf8");
    });
    after(async () => {
        await browser?.close();
        await server?.stop();
    });

    /** A person on a page that holds the example and nothing else. @param {string} name */
    async function person(name) {
        const [, example] = /```js\n([^]*?)```/.exec(reference) ?? assert.fail("there is an example");
        const page = await newPerson(browser);
        await page.setRequestInterception(true);
        page.on("request", (request) => {
            const isExample = new URL(request.url()).pathname === "/example.js";
            isExample ? request.respond({ contentType: "text/javascript", body: example }) : request.continue();
        });
        // The document must be the server's own, or the browser lets it open no connection to this machine.
        await page.goto(`${server.http}/?name=${encodeURIComponent(name)}`);
        await page.evaluate(() => {
            const elements = [["div", "me"], ["div", "others"], ["pre", "log"]].map(([tag, id]) => Object.assign(document.createElement(tag), { id }));
            document.body.replaceChildren(...elements, Object.assign(document.createElement("script"), { type: "module", src: "/example.js" }));
        });
        return page;
    }

    /** @param {import("puppeteer-core").Page} page @param {string} text */
    function tells(page, text) {
        const log = () => page.$eval("#log", (element) => element.textContent ?? "");
        return until(`the page tells "${text}"`, async () => (await log()).includes(text), { describe: log });
    }

    test("its example is a call of two", async () => {
        const alice = await person("Алиса");
        await tells(alice, "I am seen and heard");
        const boris = await person("Борис");
        await tells(boris, "I am seen and heard");
        await tells(boris, "Алиса: Hello, Борис");
        for (const page of [alice, boris]) {
            await until("pictures and sound arrive", async () => {
                const { frames, energy } = await received(page);
                return frames > 20 && energy > 0;
            });
            await until("the quality is told", () => page.$eval("#others", (element) => ["PERFECT", "GOOD"].includes(/** @type {HTMLElement} */ (element).dataset.quality ?? "")));
            assert.equal((await page.$$("#me video")).length, 1);
            assert.deepEqual(page.problems.filter((problem) => !problem.includes("404")), []);
        }
        const twin = await person("Борис");
        await tells(twin, "not in the room: Room already has user with such login");
        await Promise.all([alice, boris, twin].map((page) => page.browserContext().close()));
    });

    test("everything that it lists exists, and everything that exists is listed", () => {
        const known = [Session, Room, Participant, PublishedStream, Stream].flatMap((one) => Object.getOwnPropertyNames(one.prototype));
        const methods = known.filter((name) => !name.startsWith("_") && name !== "constructor");
        for (const name of methods) {
            assert.match(reference, new RegExp(`\`${name}\\(`), `${name}() is listed`);
        }
        for (const [, name] of reference.matchAll(/`(\w+)\([^`]*\)`/g)) {
            assert.ok(methods.includes(name) || name in RoomApi, `${name}() exists`);
        }
        const words = [RoomApi.SESSION_STATUS, RoomApi.ROOM_EVENT, RoomApi.STREAM_EVENT, RoomApi.CONNECTION_QUALITY].flatMap(Object.keys);
        for (const word of words.filter((one) => one !== "PENDING" && one !== "UNKNOWN")) {
            assert.ok(reference.includes(`\`${word}\``), `${word} is listed`);
        }
    });

    test("its error codes are those of the sources", async () => {
        const sources = await Promise.all((await readdir(SDK)).filter((name) => name.endsWith(".js")).map((name) => readFile(join(SDK, name), "utf8")));
        // Those that the server says are passed on.
        sources.push(await readFile(join(SDK, "../../src/refusal.rs"), "utf8"));
        const listed = [...reference.split("## Errors")[1].matchAll(/`([a-z-]+)`/g)].map(([, code]) => code).filter((code) => code.includes("-") || code === "refused" || code === "unreachable");
        for (const code of listed.filter((one) => one !== "code" && one !== "message")) {
            assert.ok(sources.some((text) => text.includes(`"${code}"`)), code);
        }
    });

    test("the package brings the modules and types that a strict project takes", { timeout: PACK_MS }, async () => {
        const dir = await mkdtemp(join(tmpdir(), "ringvox-sdk-"));
        try {
            await run("npm", ["pack", "--pack-destination", dir, "--offline", "--loglevel=error"], { cwd: SDK });
            const [file] = await readdir(dir);
            const installed = join(dir, "node_modules/ringvox-sdk");
            await mkdir(installed, { recursive: true });
            await run("tar", ["xzf", join(dir, file), "--strip-components=1", "-C", installed]);
            assert.deepEqual((await readdir(installed)).filter((name) => !name.endsWith(".js")).sort(), ["README.md", "package.json", "types"]);

            await writeFile(join(dir, "good.ts"), `
                import { connect, ROOM_EVENT, MediaError, CONNECTION_QUALITY } from "ringvox-sdk";
                const session = connect({ urlServer: "wss://a/", username: "a", token: "t" });
                const room = session.join({ name: "r", record: false });
                const stream = room.publish({ display: document.body, constraints: { audio: true, video: { type: "screen" } }, receiveVideo: false });
                room.on(ROOM_EVENT.MESSAGE, ({ from, text }) => console.log(from.name(), text));
                const stats: Promise<number | undefined> = stream.getStats().then((all) => all?.video?.packetsLost);
                const bad: boolean = stream.quality().quality === CONNECTION_QUALITY.BAD;
                const left: Promise<void> = room.leave();
                const denied = (error: unknown) => error instanceof MediaError && error.code === "permission-denied";
                export { stats, bad, left, denied };`);
            await writeFile(join(dir, "bad.ts"), `
                import { connect } from "ringvox-sdk";
                connect({ urlServer: 1, username: "a" });
                connect({ urlServer: "wss://a/", username: "a" }).nothing();`);
            const tsc = (/** @type {string} */ name) => run("node", [join(HERE, "node_modules/typescript/bin/tsc"), "--strict", "--noEmit", "--target", "ES2022",
                "--module", "ES2022", "--moduleResolution", "Bundler", "--lib", "ES2022,DOM", join(dir, name)], { cwd: dir });
            await tsc("good.ts").catch((error) => assert.fail(error.stdout));
            const complaints = await tsc("bad.ts").then(() => "", (error) => String(error.stdout));
            assert.deepEqual([...complaints.matchAll(/bad\.ts\((\d+)/g)].map(([, line]) => line), ["3", "4"], complaints);
            const names = await run("node", ["--input-type=module", "-e", 'console.log(typeof (await import("ringvox-sdk")).connect)'], { cwd: dir });
            assert.equal(names.stdout.trim(), "function");
        } finally {
            await rm(dir, { recursive: true, force: true });
        }
    });
});
