"""GStreamer publishes over WHIP what carries its time, for recordings to be measured by: each picture shows in
blocks the millisecond at which it was captured, and a tone begins with each whole second (see support/marks.js).

All that it publishes has one clock, is captured without a delay, and says in its sender reports when it was
captured: what a recording is off by, the server did.

Usage: record_gstreamer.py BASE ROOM LOGIN:VIDEO:AUDIO:HZ[:AFTER_MS]...
VIDEO is VP8 or H264, AUDIO is OPUS, PCMU or PCMA; it begins so long after the first one. Prints
"publishing LOGIN" for each that is connected, and goes on until its standard input closes.
"""

import math
import sys
import threading
import urllib.parse

from whip_gstreamer import Gst, Peer, until, webrtcbin

WIDTH, HEIGHT, RATE = 320, 180, 50
BITS = 16
# The blocks of bits are between a white one and a black one.
BLOCKS = BITS + 2
PART_MS = 20
BEEP_MS = 50
ENCODERS = {
    "VP8": "vp8enc deadline=1 keyframe-max-dist=50 target-bitrate=500000 ! rtpvp8pay pt=96",
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=50 bitrate=500 "
    "! video/x-h264,profile=constrained-baseline ! rtph264pay pt=96 config-interval=-1",
    "OPUS": "opusenc ! rtpopuspay pt=97",
    "PCMU": "mulawenc ! rtppcmupay pt=0",
    "PCMA": "alawenc ! rtppcmapay pt=8",
}


def picture(at_ms):
    """In I420: the time in Gray's code over the upper quarter, and a square that moves below."""
    gray = at_ms % (1 << BITS)
    gray ^= gray >> 1
    bits = [1, *(gray >> bit & 1 for bit in range(BITS)), 0]
    line = bytes(235 if bits[x * BLOCKS // WIDTH] else 16 for x in range(WIDTH))
    left = at_ms // 10 % (WIDTH - 40)
    square = bytes(90 if x < left or x >= left + 40 else 200 for x in range(WIDTH))
    band = HEIGHT // 4
    luma = line * band + bytes([90]) * (WIDTH * 40) + square * 40
    luma += bytes([90]) * (WIDTH * HEIGHT - len(luma))
    return luma + bytes([128]) * (WIDTH * HEIGHT // 2)


def sound(at_ms, rate_hz, hz):
    """A part of the tone, and of the silence that follows, in 16 bits."""
    samples = range(at_ms * rate_hz // 1_000, (at_ms + PART_MS) * rate_hz // 1_000)
    beeps = (at_ms % 1_000) < BEEP_MS
    part = bytearray()
    for n in samples:
        level = 10_000 * math.sin(2 * math.pi * hz * n / rate_hz)
        part += int(level if beeps and n % rate_hz < rate_hz * BEEP_MS // 1_000 else 0).to_bytes(2, "little", signed=True)
    return bytes(part)


class Publisher(Peer):
    """One stream: `video` and `audio` begin with what is captured now."""

    def __init__(self, base, room, what, clock, zero):
        login, video, audio, hz, *_ = what
        rate_hz = 48_000 if audio == "OPUS" else 8_000
        raw = {
            "video": f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={RATE}/1",
            "audio": f"audio/x-raw,format=S16LE,layout=interleaved,rate={rate_hz},channels=1",
        }
        source = "appsrc name={} format=time is-live=true block=true max-buffers=1 caps={} ! {} "
        # Until it is connected nothing goes on: it would come as one heap of what is old.
        source += "! valve name={}-valve drop=true drop-mode=forward-sticky-events ! peer. "
        codecs = (("video", video), ("audio", audio))
        kinds = "".join(source.format(kind, raw[kind], ENCODERS[codec], kind) for kind, codec in codecs)
        pipeline = Gst.parse_launch(f"{webrtcbin('max-bundle')} {kinds}")
        super().__init__(pipeline, f"{base}/whip/{urllib.parse.quote(room, safe='')}?login={login}")
        # Reports say when was captured what is sent, and not when it was sent.
        self.bin.get_by_name("rtpbin").set_property("rtcp-sync-send-time", False)
        pipeline.use_clock(clock)
        pipeline.set_start_time(Gst.CLOCK_TIME_NONE)
        pipeline.set_base_time(zero)
        self.login, self.clock, self.zero, self.is_over = login, clock, zero, threading.Event()
        step_ms = 1_000 // RATE
        self.threads = [
            threading.Thread(target=self.capture, args=("video", step_ms, picture)),
            threading.Thread(target=self.capture, args=("audio", PART_MS, lambda at: sound(at, rate_hz, int(hz)))),
        ]

    def now_ms(self):
        return (self.clock.get_time() - self.zero) // Gst.MSECOND

    def capture(self, kind, step_ms, make):
        """Pushes what is due. Pictures that are late are left out; of sound each sample is there, as it is counted."""
        source = self.pipeline.get_by_name(kind)
        number = self.now_ms() // step_ms
        while not self.is_over.is_set():
            number = number + 1 if kind == "audio" else max(number + 1, self.now_ms() // step_ms)
            at_ms = number * step_ms
            # A sound is there when its last sample is.
            ready_ms = at_ms + (step_ms if kind == "audio" else 0)
            self.is_over.wait(max(0, ready_ms - self.now_ms()) / 1_000)
            buffer = Gst.Buffer.new_wrapped(make(at_ms))
            buffer.pts, buffer.duration = at_ms * Gst.MSECOND, step_ms * Gst.MSECOND
            source.emit("push-buffer", buffer)

    def start(self):
        super().start()
        for thread in self.threads:
            thread.start()

    def send(self):
        for kind in ("audio", "video"):
            self.pipeline.get_by_name(f"{kind}-valve").set_property("drop", False)

    def close(self):
        self.is_over.set()
        super().close()
        for thread in self.threads:
            thread.join()


def main(base, room, *streams):
    Gst.init(None)
    clock = Gst.SystemClock.obtain()
    zero, publishers = clock.get_time(), []
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    for stream in streams:
        what = stream.split(":")
        after_ms = int(what[4]) if len(what) > 4 else 0
        publisher = Publisher(base, room, what, clock, zero)
        until("it begins", lambda: publisher.now_ms() >= after_ms, *publishers)
        publisher.start()
        until(f"{publisher.login} is connected", publisher.connected, *publishers, publisher)
        publisher.send()
        publishers.append(publisher)
        print(f"publishing {publisher.login}", flush=True)
    until("it is enough", ended.is_set, *publishers, seconds=120)
    for publisher in publishers:
        publisher.close()


main(*sys.argv[1:])
