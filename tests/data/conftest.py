"""Small clips on disk, and a web server that misbehaves on request."""

import contextlib
import io
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from pictures import blocks_mask, write_frames

from vos_teach.data.png import write_mask


@pytest.fixture
def davis_root(tmp_path):
    """DAVIS-2017 with sequences a (ids 1, 2) and b (id 1; 1 and void later), 3 frames each; c is only in the list."""
    root = tmp_path / "DAVIS"
    for name, ids in (("a", [[1, 2]] * 3), ("b", [[1], [1, 255], [1]])):
        write_frames(root / "JPEGImages/480p" / name, ["00000", "00001", "00002"])
        for t, k in enumerate(ids):
            write_mask(root / "Annotations/480p" / name / f"{t:05d}.png", blocks_mask(k))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("a\nb\nc\n")
    return root


@pytest.fixture
def archive():
    """The bytes of a small official zip: sequences a, b, c of 3 frames, frames of 40 kB, another resolution."""
    rng, out = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("DAVIS/README.md", "read me")
        for kind, suffix in (("Annotations", "png"), ("JPEGImages", "jpg")):
            for size in ("480p", "Full-Resolution"):
                for name in "abc":
                    for t in range(3):
                        z.writestr(f"DAVIS/{kind}/{size}/{name}/{t:05d}.{suffix}", rng.bytes(40_000))
        for year in (2016, 2017):
            z.writestr(f"DAVIS/ImageSets/{year}/val.txt", "a\nb\nc\n")
    return out.getvalue()


class Server:
    """Serves one file at .url. Knobs: ranges; drop (answers that end after so many bytes); codes (to answer first);
    corrupt (position of a byte to flip, so many times); stall. Counts: served bytes, requests."""

    def __init__(self, data):
        self.data, self.ranges, self.drop, self.codes = data, True, [], []
        self.corrupt, self.served, self.requests, self.lie = {}, 0, [], False
        self.stall = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/DAVIS-small.zip"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, to):
        asked = to.headers.get("Range")
        self.requests.append(asked)
        if self.stall.is_set():
            time.sleep(1)
            return
        if self.codes:
            to.send_error(self.codes.pop(0))
            return
        data, start, stop = bytearray(self.data), 0, len(self.data)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if self.ranges and match:
            start = int(match[1])
            stop = min(stop, int(match[2]) + 1) if match[2] else stop
            if start >= len(data):
                to.send_error(416)
                return
            to.send_response(206)
            shift = 7 if self.lie else 0
            to.send_header("Content-Range", f"bytes {start + shift}-{stop - 1}/{len(data)}")
        else:
            to.send_response(200)
        to.send_header("Content-Length", str(stop - start))
        to.end_headers()
        for at in [a for a, times in self.corrupt.items() if times and start <= a < stop]:
            self.corrupt[at] -= 1
            data[at] ^= 0xFF
        body = bytes(data[start:stop])
        if self.drop and len(body) > 1000:
            body = body[: self.drop.pop(0)]
        self.served += len(body)
        with contextlib.suppress(OSError):
            to.wfile.write(body)
        to.close_connection = True


@pytest.fixture
def server(archive, monkeypatch):
    monkeypatch.setattr("vos_teach.data.remote.PAUSE", 0.001)
    server = Server(archive)
    yield server
    server.http.shutdown()
    server.http.server_close()
