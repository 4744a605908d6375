"""Writing a video: H.264 in mp4, playable in every browser (yuv420p, even sizes, index at the front)."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from vos_teach.clip import VosError


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float = 24, crf: int = 23) -> Path:
    """Write H,W,3 uint8 RGB frames, one at a time and never kept. `crf` 0..51: larger is smaller and coarser.

    An odd height or width is made even by repeating the last row or column. The file gets its name only when it
    is whole. Raises VosError where there is no frame, where sizes differ, or where ffmpeg could not write.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part.mp4")
    coder, size = None, (0, 0)
    with tempfile.TemporaryFile() as log:
        try:
            for frame in frames:
                if coder is None:
                    size = frame.shape[:2]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    coder = _ffmpeg(part, size[0] + size[0] % 2, size[1] + size[1] % 2, fps, crf, log)
                if frame.shape != (*size, 3):
                    raise VosError(f"video '{path}': a frame is {frame.shape}, the first was {(*size, 3)}")
                frame = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
                coder.stdin.write(np.ascontiguousarray(frame, dtype=np.uint8).data)
            if coder is None:
                raise VosError(f"video '{path}' has no frames: nothing to write")
            coder.stdin.close()
            if coder.wait():
                raise BrokenPipeError
            part.replace(path)
        except (BrokenPipeError, ConnectionResetError):
            coder.wait()
            log.seek(0)
            why = log.read().decode(errors="replace").strip().splitlines()
            raise VosError(f"cannot write video '{path}': {(why or ['is the disk full?'])[-1]}") from None
        finally:
            if coder is not None and coder.poll() is None:
                coder.kill()
                coder.wait()
            if coder is not None and not coder.stdin.closed:
                with contextlib.suppress(OSError):
                    coder.stdin.close()
            part.unlink(missing_ok=True)
    return path


def _ffmpeg(path: Path, height: int, width: int, fps: float, crf: int, log: object) -> subprocess.Popen:
    """ffmpeg (the copy that comes with imageio-ffmpeg), waiting for raw RGB frames on its standard input."""
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    coding = ["-c:v", "libx264", "-threads", "2", "-pix_fmt", "yuv420p", "-crf", str(crf), "-movflags", "+faststart"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *coding, f"file:{path}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
