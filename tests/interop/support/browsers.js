/**
 * Chromium and Firefox, headless, with made-up cameras and microphones and no talk to the world outside. One
 * driver for both (puppeteer: DevTools protocol and WebDriver BiDi), so that a test says once what both must
 * do.
 * @module
 */

import { existsSync } from "node:fs";
import puppeteer from "puppeteer-core";

/** @typedef {"chromium" | "firefox"} BrowserName */

const EXECUTABLES = {
    chromium: ["/usr/bin/chromium", "/usr/bin/google-chrome"],
    firefox: ["/usr/bin/firefox-esr", "/usr/bin/firefox"],
};

const CHROMIUM_FLAGS = [
    // Several cameras, of which the second is one for depth; microphones there are always several.
    "--use-fake-device-for-media-stream=device-count=3",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // Nobody looks at any of these windows; all of them must run at full speed.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    // Nothing but our own server is there to be asked.
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-proxy-server",
    "--disable-features=MediaRouter,OptimizationHints,Translate",
];

const FIREFOX_PREFERENCES = {
    "media.navigator.streams.fake": true,
    "media.navigator.permission.disabled": true,
    "media.peerconnection.ice.obfuscate_host_addresses": false,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.gmp-manager.updateEnabled": false,
    "media.gmp-manager.url": "data:text/plain,",
    "media.gmp-provider.enabled": false,
    "media.suspend-background-video.enabled": false,
    "dom.min_background_timeout_value": 4,
    "dom.timeout.enable_budget_timer_throttling": false,
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
    "network.proxy.type": 0,
    "app.normandy.enabled": false,
    "app.update.disabledForTesting": true,
    "browser.safebrowsing.malware.enabled": false,
    "browser.safebrowsing.phishing.enabled": false,
    "browser.topsites.contile.enabled": false,
    "extensions.update.enabled": false,
    "services.settings.server": "data:,",
    "datareporting.policy.dataSubmissionEnabled": false,
    "toolkit.telemetry.enabled": false,
};

/**
 * @param {BrowserName} name
 * @param {{acceptInsecureCerts?: boolean}} [options] whether certificates that nobody vouches for are good
 *     enough
 * @returns {Promise<import("puppeteer-core").Browser>}
 */
export function launch(name, { acceptInsecureCerts = false } = {}) {
    const executablePath = EXECUTABLES[name].find(existsSync);
    if (!executablePath) {
        throw new Error(`no ${name} here; \`make setup\` installs it`);
    }
    return puppeteer.launch({
        browser: name === "firefox" ? "firefox" : "chrome",
        executablePath,
        headless: true,
        acceptInsecureCerts,
        ...(name === "chromium" ? { args: CHROMIUM_FLAGS } : { extraPrefsFirefox: FIREFOX_PREFERENCES }),
    });
}

/**
 * A window of its own, as a person of its own: no storage shared with the others. What goes wrong in the page
 * is collected in `page.problems`.
 * @param {import("puppeteer-core").Browser} browser
 * @returns {Promise<import("puppeteer-core").Page & {problems: string[]}>}
 */
export async function newPerson(browser) {
    const context = await browser.createBrowserContext();
    const page = Object.assign(await context.newPage(), { problems: /** @type {string[]} */ ([]) });
    page.on("pageerror", (error) => page.problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
    await page.evaluateOnNewDocument(watchConnections);
    return page;
}

/**
 * Runs in the page before anything of it: remembers every RTCPeerConnection, so that a test can ask for its
 * statistics.
 */
function watchConnections() {
    const Original = globalThis.RTCPeerConnection;
    const connections = [];
    globalThis.RTCPeerConnection = class extends Original {
        constructor(...args) {
            super(...args);
            connections.push(this);
        }
    };
    globalThis.__connections = connections;
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
}
