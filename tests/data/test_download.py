"""Downloads from a real local server, with and without ranges, that drops, truncates, corrupts and refuses."""

import hashlib
import io
import zipfile

import pytest

from vos_teach.clip import VosError
from vos_teach.data import download, remote
from vos_teach.data.lists import sequence_names


def fetch(server, root, sequences=("a", "b"), **options):
    return download.davis(root, sequences, 2017, url=server.url, progress=False, **options)


def files(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def expected(archive, names="ab", size="480p"):
    """Path -> bytes of what ought to be there."""
    z = zipfile.ZipFile(io.BytesIO(archive))
    paths = [f"{k}/{size}/{n}/{t:05d}.{x}" for k, x in (("JPEGImages", "jpg"), ("Annotations", "png"))
             for n in names for t in range(3)]
    return {p: z.read(f"DAVIS/{p}") for p in [*paths, "ImageSets/2017/val.txt"]}


def check(archive, root, names="ab", size="480p", also=()):
    want = expected(archive, names, size)
    assert files(root) == sorted([*want, *also])
    assert all((root / p).read_bytes() == data for p, data in want.items())


def test_only_the_sequences_asked_for_are_fetched(server, archive, tmp_path):
    fetch(server, tmp_path)
    check(archive, tmp_path)
    needed = 12 * 40_000
    assert needed < server.served < needed + remote.BLOCK + 5_000 < 0.5 * len(archive)
    assert len(server.requests) <= 2 + 3  # size, directory, and one a span: masks, frames, list
    assert sequence_names(tmp_path, "2017", "val", "present") == ["a", "b", "c"]


def test_a_second_run_fetches_only_what_is_missing_or_damaged(server, archive, tmp_path):
    fetch(server, tmp_path)
    before = server.served
    (tmp_path / "JPEGImages/480p/a/00001.jpg").unlink()
    (tmp_path / "Annotations/480p/b/00002.png").write_bytes(b"cut short")
    fetch(server, tmp_path)
    check(archive, tmp_path)
    assert 80_000 < server.served - before < 80_000 + remote.BLOCK + 5_000


def test_all(server, archive, tmp_path):
    fetch(server, tmp_path, "all")
    check(archive, tmp_path, "abc")


def test_another_resolution(server, archive, tmp_path):
    fetch(server, tmp_path, resolution="Full-Resolution")
    check(archive, tmp_path, size="Full-Resolution")


def test_dropped_connections_are_taken_up_where_they_broke(server, archive, tmp_path):
    server.drop = [20_000, 500, 70_000, 90_000, 0]
    fetch(server, tmp_path)
    check(archive, tmp_path)
    assert not server.drop
    assert server.served < 12 * 40_000 + 2 * remote.BLOCK  # nothing twice


def test_a_server_that_always_drops_is_given_up(server, tmp_path):
    server.drop = [0] * 100
    with pytest.raises(VosError, match=r"connection dropped.*place it as '.*DAVIS-small.zip'"):
        fetch(server, tmp_path)
    assert len(server.requests) == 1 + remote.TRIES
    assert files(tmp_path) == []


def test_interrupted_then_run_again_goes_on(server, archive, tmp_path, monkeypatch):
    whole, count = download.write_bytes, []

    def interrupted(path, data):
        count.append(path)
        if len(count) == 5:
            raise KeyboardInterrupt
        whole(path, data)

    monkeypatch.setattr(download, "write_bytes", interrupted)
    monkeypatch.setattr(download, "SPAN", 100_000)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path)
    assert len(files(tmp_path)) == 4
    first = server.served
    fetch(server, tmp_path)
    check(archive, tmp_path)
    assert server.served - first < 9 * 40_000 + remote.BLOCK


@pytest.mark.parametrize("times", [1, 100])
def test_a_corrupt_member_never_gets_its_name(server, archive, tmp_path, times):
    z = zipfile.ZipFile(io.BytesIO(archive))
    server.corrupt = {z.getinfo("DAVIS/JPEGImages/480p/a/00001.jpg").header_offset + 20_000: times}
    if times == 1:
        fetch(server, tmp_path)
        check(archive, tmp_path)
        assert not server.corrupt.popitem()[1]
    else:
        with pytest.raises(VosError, match=r"a/00001.jpg: .*get '.*' in another way"):
            fetch(server, tmp_path)
        assert "JPEGImages/480p/a/00001.jpg" not in files(tmp_path)
        assert "JPEGImages/480p/a/00000.jpg" in files(tmp_path)
        assert not [f for f in files(tmp_path) if "part" in f]


def test_a_truncated_zip_on_the_server(server, archive, tmp_path):
    server.data = archive[: len(archive) // 2]
    with pytest.raises(VosError, match="truncated or damaged"):
        fetch(server, tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("codes, requests", [([404], 1), ([503] * 100, remote.TRIES)])
def test_refusals(server, tmp_path, codes, requests):
    server.codes = list(codes)
    with pytest.raises(VosError, match=f"HTTP {codes[0]}.*place it as"):
        fetch(server, tmp_path)
    assert len(server.requests) == requests


def test_a_busy_server_is_asked_again(server, archive, tmp_path):
    server.codes = [503, 429, 500]
    fetch(server, tmp_path)
    check(archive, tmp_path)


def test_a_server_that_is_not_there(server, tmp_path):
    server.url = "http://127.0.0.1:9/DAVIS-small.zip"
    with pytest.raises(VosError, match=r"refused.*place it as"):
        fetch(server, tmp_path)
    server.url = "nonsense"
    with pytest.raises(VosError, match=r"nonsense.*place it as"):
        fetch(server, tmp_path)


def test_a_server_that_says_nothing_does_not_hang_us(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT", 0.1)
    monkeypatch.setattr(remote, "TRIES", 2)
    server.stall.set()
    with pytest.raises(VosError, match="timed out"):
        fetch(server, tmp_path)


def test_a_server_that_sends_another_range(server, tmp_path):
    server.lie = True
    with pytest.raises(VosError, match="another range"):
        fetch(server, tmp_path)


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_without_ranges_the_whole_zip_is_fetched_and_hashed(server, archive, tmp_path):
    server.ranges = False
    fetch(server, tmp_path, digest=sha(archive))
    check(archive, tmp_path, also=["DAVIS-small.zip"])
    requests = len(server.requests)
    fetch(server, tmp_path, ["c"], digest=sha(archive))  # from the zip that is there
    check(archive, tmp_path, "abc", also=["DAVIS-small.zip"])
    assert len(server.requests) == requests


def test_without_ranges_a_drop_begins_again_and_is_bounded(server, archive, tmp_path):
    server.ranges, server.drop = False, [300_000, 200_000]
    server.requests = []
    fetch(server, tmp_path)
    check(archive, tmp_path, also=["DAVIS-small.zip"])
    other = tmp_path / "other"
    server.drop, server.requests = [300_000] * 100, []
    with pytest.raises(VosError, match="connection dropped"):
        fetch(server, other)
    assert len(server.requests) <= remote.TRIES + 1
    assert files(other) in ([], ["DAVIS-small.zip.part"])


@pytest.mark.parametrize("times", [2, 100])
def test_without_ranges_a_wrong_hash_is_fetched_once_more(server, archive, tmp_path, times):
    server.ranges, server.corrupt = False, {5000: times}  # the first answer is to the question for the size
    if times == 2:
        fetch(server, tmp_path, digest=sha(archive))
        check(archive, tmp_path, also=["DAVIS-small.zip"])
    else:
        with pytest.raises(VosError, match=r"truncated or damaged .*sha256"):
            fetch(server, tmp_path, digest=sha(archive))
        assert files(tmp_path) == []


def test_a_half_zip_is_resumed(server, archive, tmp_path):
    part = tmp_path / "DAVIS-small.zip.part"
    part.write_bytes(archive[:500_000])
    download.fetch_whole(server.url, tmp_path / "DAVIS-small.zip", sha(archive), False)
    assert server.requests == ["bytes=500000-"] and server.served == len(archive) - 500_000
    assert files(tmp_path) == ["DAVIS-small.zip"]
    (tmp_path / "DAVIS-small.zip").rename(part)  # whole, but interrupted before it was hashed: 416
    download.fetch_whole(server.url, tmp_path / "DAVIS-small.zip", sha(archive), False)
    assert (tmp_path / "DAVIS-small.zip").read_bytes() == archive


def test_a_zip_placed_by_hand(server, archive, tmp_path):
    (tmp_path / "DAVIS-small.zip").write_bytes(archive)
    fetch(server, tmp_path)
    check(archive, tmp_path, also=["DAVIS-small.zip"])
    assert server.requests == []
    (tmp_path / "DAVIS-small.zip").write_bytes(archive[:-100])
    for digest in (None, sha(archive)):
        with pytest.raises(VosError, match=r"DAVIS-small\.zip' is truncated or damaged"):
            fetch(server, tmp_path, ["c"], digest=digest)


@pytest.mark.parametrize("path", ["DAVIS/../../evil.txt", "/etc/evil", "DAVIS\\..\\evil", "C:/evil"])
def test_unsafe_paths_are_refused(server, tmp_path, path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        info = zipfile.ZipInfo("x")
        info.filename = path
        z.writestr(info, "evil")
        z.writestr("DAVIS/JPEGImages/480p/a/00000.jpg", "frame")
    server.data = out.getvalue()
    with pytest.raises(VosError, match="unsafe path"):
        fetch(server, tmp_path, ["a"])
    assert files(tmp_path) == []


def test_what_is_not_in_the_zip(server, tmp_path):
    with pytest.raises(VosError, match="no sequence 'zebra': it has a, b, c"):
        fetch(server, tmp_path, ["zebra"])
    with pytest.raises(VosError, match="no resolution '1080p': it has 480p, Full-Resolution"):
        fetch(server, tmp_path, resolution="1080p")
    with pytest.raises(VosError, match="no DAVIS-2018"):
        download.davis(tmp_path, ["a"], 2018, progress=False)


def test_2016_after_2017_is_refused(server, tmp_path):
    fetch(server, tmp_path)
    with pytest.raises(VosError, match="another year's masks"):
        download.davis(tmp_path, ["a"], 2016, url=server.url, progress=False)


def test_the_command(server, archive, tmp_path, capsys, monkeypatch):
    from vos_teach import cli

    def run(*words):
        monkeypatch.setattr("sys.argv", ["vos-teach", "data", "davis", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr()

    code, _ = run("--sequences", "a, b", "--root", str(tmp_path), "--url", server.url)
    assert code == 0
    check(archive, tmp_path)
    code, out = run("--sequences", "zebra", "--root", str(tmp_path), "--url", server.url)
    assert code == 2 and out.err.splitlines()[-1].startswith("vos-teach: the zip has no sequence 'zebra'")
