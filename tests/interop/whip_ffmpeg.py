"""FFmpeg's own WHIP muxer publishes H.264 and Opus in real time: the one of the FFmpeg that PyAV brings, as Debian's is
too old to have one.

Prints "publishing" once it is connected, and goes on until its standard input closes. Words after the URL are options
of the muxer, as name=value. The word "certificate" stands for a certificate of its own with a key on P-256: the muxer
makes one on P-224 where its FFmpeg is built with GnuTLS.
"""

import datetime
import fractions
import os
import select
import sys
import tempfile
import time

import av
import numpy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

WIDTH, HEIGHT, RATE = 320, 240, 25
SAMPLE_RATE = 48_000
SAMPLES = SAMPLE_RATE // RATE
ENCODER = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": str(RATE)}


def write_certificate(directory):
    """The muxer's options for a new key and its certificate, both as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "encoder")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = certificate.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    traditional, no_password = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    files = {
        "key_file": key.private_bytes(pem, traditional, no_password),
        "cert_file": certificate.sign(key, hashes.SHA256()).public_bytes(pem),
    }
    for option, octets in files.items():
        with open(os.path.join(directory, option), "wb") as file:
            file.write(octets)
    return {option: os.path.join(directory, option) for option in files}


def picture(number):
    """A bar that moves, in a colour that changes."""
    pixels = numpy.zeros((HEIGHT, WIDTH, 3), dtype=numpy.uint8)
    pixels[:, :, number % 3] = 255 * (numpy.arange(WIDTH) > number * 4 % WIDTH)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts, frame.time_base = number, fractions.Fraction(1, RATE)
    return frame


def sound(number):
    """A part of one pure tone."""
    at = numpy.arange(number * SAMPLES, (number + 1) * SAMPLES)
    tone = (8_000 * numpy.sin(2 * numpy.pi * 440 * at / SAMPLE_RATE)).astype(numpy.int16)
    frame = av.AudioFrame.from_ndarray(numpy.repeat(tone, 2).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, number * SAMPLES, fractions.Fraction(1, SAMPLE_RATE)
    return frame


def publish(url, options):
    container = av.open(url, "w", format="whip", options=options)
    video = container.add_stream("libx264", rate=RATE, options=ENCODER)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    audio = container.add_stream("libopus", rate=SAMPLE_RATE)
    audio.layout = "stereo"
    # Connects, or raises.
    container.start_encoding()
    print("publishing", flush=True)
    begin, number = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], max(0.0, begin + number / RATE - time.monotonic()))[0]:
        container.mux(video.encode(picture(number)))
        container.mux(audio.encode(sound(number)))
        number += 1
    container.close()


def main(url, *words):
    with tempfile.TemporaryDirectory() as directory:
        options = write_certificate(directory) if "certificate" in words else {}
        options |= dict(word.split("=", 1) for word in words if word != "certificate")
        publish(url, options)


main(*sys.argv[1:])
