"""Fetching DAVIS: only the sequences asked for, by HTTP ranges into the official zip, else the whole zip.

A file gets its name only when its CRC (the whole zip: its hash) is right, so an interrupted download, run again,
goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import re
import urllib.error
import zipfile
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from vos_teach.clip import VosError
from vos_teach.data.png import write_bytes
from vos_teach.data.remote import FAILURES, Remote, blocks, remote_size

ETH = "https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-"
URLS = {
    ("2017", "480p"): ETH + "480p.zip",  # 832,766,765 bytes
    ("2017", "Full-Resolution"): ETH + "Full-Resolution.zip",
    ("2016", "480p"): "https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip",
    ("2016", "1080p"): "https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip",
}
HASHES = {
    "DAVIS-2017-trainval-480p.zip": "sha256:e3d0b5b77c3d031b000a19e0e25e3e2cac65d183755601bc2cf066df1a2aa492",
    "DAVIS-data.zip": "md5:0cb3cf9c5617209fa3cc4794e52a2ffa",
}
SPAN = 8 << 20  # bytes asked for in one request, at most, where they are of several files


def davis(
    root: str | Path, sequences: Sequence[str] | str, year: int | str = 2017, resolution: str = "480p",
    url: str | None = None, digest: str | None = None, progress: bool = True,
) -> Path:
    """Fetch sequences ("all" or names) and the year's lists into `root`, in DAVIS layout; what is whole stays.

    url      of another copy of the zip; a file `root/<zip's name>` is taken before any URL
    digest   "sha256:..." or "md5:..." of the whole zip; default: the official one's, by its name
    Raises VosError: what failed, and what to place where.
    """
    root, year = Path(root), str(year)
    if url is None:
        if (year, resolution) not in URLS:
            known = ", ".join(f"{y} at {r}" for y, r in URLS)
            raise VosError(f"there is no DAVIS-{year} at {resolution}: choose one of {known}, or give --url")
        url = URLS[year, resolution]
    other = root / "ImageSets" / ("480p" if year == "2017" else "2017")
    if other.is_dir():
        raise VosError(f"'{root}' holds another year's masks, of the same names (see '{other}'): choose another --root")
    name = url.rstrip("/").rsplit("/", 1)[-1]
    whole = root / name
    digest = digest or HASHES.get(name)
    help_ = f"get '{url}' in another way, place it as '{whole}' and run the same command again"
    try:
        if whole.is_file():
            check_hash(whole, digest)
            source: io.BufferedIOBase | Remote = whole.open("rb")
        else:
            size = remote_size(url)
            if size is None:
                fetch_whole(url, whole, digest, progress)
                source = whole.open("rb")
            else:
                source = Remote(url, size)
        with source, zipfile.ZipFile(source) as archive:
            extract(archive, choose(archive, sequences, year, resolution), root, progress)
    except zipfile.BadZipFile as error:
        raise VosError(f"'{url}' is truncated or damaged ({error}): {help_}") from None
    except (*FAILURES, ValueError) as error:  # ValueError: not a URL
        raise VosError(f"'{url}' could not be fetched ({_say(error)}): {help_}") from None
    return root


def choose(
    archive: zipfile.ZipFile, sequences: Sequence[str] | str, year: str, resolution: str
) -> dict[str, zipfile.ZipInfo]:
    """Path below the root -> member: the sequences' frames and masks, the year's lists. Checks all paths."""
    members = {}
    for info in archive.infolist():
        parts = info.filename.split("/")
        if any(p in (".", "..") or re.search(r'[\\:*?"<>|\0]', p) for p in parts) or parts[0] == "":
            raise VosError(f"the zip holds the unsafe path '{info.filename}': do not use it")
        if not info.is_dir() and len(parts) > 1:
            members["/".join(parts[1:])] = info  # without the top folder, DAVIS/
    there = sorted({p.split("/")[2] for p in members if re.match(f"JPEGImages/{re.escape(resolution)}/[^/]+/", p)})
    if not there:
        sizes = sorted({p.split("/")[1] for p in members if p.startswith("JPEGImages/")})
        raise VosError(f"the zip has no resolution '{resolution}': it has {', '.join(sizes) or 'no frames at all'}")
    names = [sequences] if isinstance(sequences, str) else list(sequences)
    names = there if names == ["all"] else names
    for name in names:
        if name not in there:
            raise VosError(f"the zip has no sequence '{name}': it has {', '.join(there)}")
    lists = rf"ImageSets/({year}|\d+p)/[^/]+" if year == "2016" else f"ImageSets/{year}/[^/]+"
    folders = tuple(
        f"{kind}/{resolution}/{name}/"
        for name in names for kind in ("JPEGImages", "Annotations", "Annotations_unsupervised")
    )
    return {p: info for p, info in members.items() if p.startswith(folders) or re.fullmatch(lists, p)}


def extract(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], root: Path, progress: bool) -> None:
    """Write the members that are not there whole. Remote ones come in spans; a wrong CRC is asked for again."""
    todo = sorted(
        ((path, info) for path, info in members.items() if not is_whole(root / path, info)),
        key=lambda item: item[1].header_offset,
    )
    end = dict(pairwise([*sorted(info.header_offset for info in archive.infolist()), archive.start_dir]))
    remote = archive.fp if isinstance(archive.fp, Remote) else None
    total = sum(info.compress_size for _, info in todo)
    with tqdm(total=total, unit="B", unit_scale=True, disable=not progress, desc=f"{len(todo)} files") as bar:
        for k, (path, info) in enumerate(todo):
            start = info.header_offset
            if remote and not remote.holds(start, end[start]):
                stop = end[start]
                for _, after in todo[k + 1 :]:  # neighbours in the zip come with the same request
                    if after.header_offset != stop or end[stop] - start > SPAN:
                        break
                    stop = end[stop]
                remote.fetch(start, stop)
            write_bytes(root / path, read_member(archive, info, remote, end[start]))
            bar.update(info.compress_size)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, remote: Remote | None, end: int) -> bytes:
    """The member's bytes, their CRC checked; a remote one is asked for up to 3 times. Raises BadZipFile."""
    for again in (True, True, False):
        try:
            return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            if remote is None or not again:
                raise zipfile.BadZipFile(f"{info.filename}: {error}") from None
            remote.fetch(info.header_offset, end)
    raise AssertionError


def is_whole(path: Path, info: zipfile.ZipInfo) -> bool:
    """Is the file there, with the member's size and CRC?"""
    return path.is_file() and path.stat().st_size == info.file_size and zlib.crc32(path.read_bytes()) == info.CRC


def fetch_whole(url: str, path: Path, digest: str | None, progress: bool) -> None:
    """The whole file: to `path`.part, with which a later run goes on; it gets its name when its hash is right."""
    part = path.with_name(path.name + ".part")
    for again in (True, False):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = part.open("r+b" if part.is_file() else "w+b")
        except OSError as error:
            raise _disk(part, error) from None
        with file, tqdm(unit="B", unit_scale=True, disable=not progress, desc=path.name) as bar:
            start = bar.n = file.seek(0, io.SEEK_END)
            try:
                for at, block, size in blocks(url, start, None):
                    bar.total = size
                    try:
                        file.seek(at)
                        file.truncate()
                        file.write(block)
                        file.flush()
                    except OSError as error:
                        raise _disk(part, error) from None
                    bar.update(at + len(block) - bar.n)
            except urllib.error.HTTPError as error:
                if error.code != 416 or start == 0:  # 416: there is nothing after what we have
                    raise
        try:
            check_hash(part, digest)
            part.replace(path)
            return
        except VosError:
            part.unlink()
            if not again:
                raise


def check_hash(path: Path, digest: str | None) -> None:
    """Raise VosError unless the file has this hash ("sha256:..."); without one, unless all CRCs in it are right."""
    if digest is None:
        try:
            with zipfile.ZipFile(path) as archive:
                wrong = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError):
            wrong = "its directory"
        if wrong:
            raise VosError(f"'{path}' is truncated or damaged ({wrong}): delete it and run the command again")
        return
    kind, _, expected = digest.partition(":")
    found = hashlib.new(kind)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != expected:
        raise VosError(
            f"'{path}' is truncated or damaged ({kind} {found.hexdigest()[:12]}..., not {expected[:12]}...): "
            "delete it and run the same command again, or place the official zip there"
        )


def _disk(path: Path, error: OSError) -> VosError:
    return VosError(f"'{path}' cannot be written ({error.strerror or error}): choose another --root or free space")


def _say(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return f"HTTP {error.code} {reason}" if isinstance(error, urllib.error.HTTPError) else str(reason or error)
