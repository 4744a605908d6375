"""Submissions as nbgrader, Canvas, Moodle and humans leave them in a folder."""

import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_teach.errors import VosError
from vos_teach.grading.collect import find, safe


def laid(folder, *names):
    """Empty files of these names; a name that ends with / is a folder."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(b"")
    return folder


def found(folder, lab="lab1"):
    return {who: [p.relative_to(folder).as_posix() for p in paths] for who, paths in find(folder, lab).items()}


def test_nbgraders_folder(tmp_path):
    laid(tmp_path, "ada/lab1/x.ipynb", "ada/lab1/timestamp.txt", "ada/lab0/y.ipynb", "bob/lab1/", "eve/lab0/z.ipynb")
    assert found(tmp_path) == {"ada": ["ada/lab1/x.ipynb"], "bob": [], "eve": []}
    assert found(tmp_path, "lab0") == {"ada": ["ada/lab0/y.ipynb"], "bob": [], "eve": ["eve/lab0/z.ipynb"]}


def test_folders_of_students(tmp_path):
    laid(tmp_path, "ada/x.ipynb", "ada/.ipynb_checkpoints/x-checkpoint.ipynb", "bob/deep/er/x.ipynb", "eve/",
         "joe/x.py", "mia/x.ipynb", "mia/helper.py", "__MACOSX/ada/x.ipynb", ".git/x.ipynb", "README.md")
    assert found(tmp_path) == {"ada": ["ada/x.ipynb"], "bob": ["bob/deep/er/x.ipynb"], "eve": [], "joe": ["joe/x.py"],
                               "mia": ["mia/x.ipynb"]}


def test_flat_files_and_canvas(tmp_path):
    laid(tmp_path, "ada.ipynb", "loveacea_123_456_lab1_online_learning.ipynb", "turingal_LATE_77_88_lab1-1.ipynb",
         "turingal_LATE_77_89_lab1-2.ipynb", "hopper_5_6_notes.pdf", "noether_9_1_lab1.py", "zip_3_4_all.zip")
    assert found(tmp_path) == {
        "ada": ["ada.ipynb"], "loveacea_123": ["loveacea_123_456_lab1_online_learning.ipynb"],
        "turingal_77": ["turingal_LATE_77_88_lab1-1.ipynb", "turingal_LATE_77_89_lab1-2.ipynb"],
        "noether_9": ["noether_9_1_lab1.py"], "zip_3": ["zip_3_4_all.zip"]}


def test_moodle(tmp_path):
    laid(tmp_path, "Ada Lovelace_123_assignsubmission_file_/lab1.ipynb", "Émile Zola_9_assignsubmission_file/a.ipynb",
         "Bob_77_assignsubmission_file_/")
    assert found(tmp_path) == {"Ada_Lovelace_123": ["Ada Lovelace_123_assignsubmission_file_/lab1.ipynb"],
                               "Émile_Zola_9": ["Émile Zola_9_assignsubmission_file/a.ipynb"], "Bob_77": []}


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as Unix has them")
def test_links_are_listed_not_followed(tmp_path):
    outside = laid(tmp_path / "outside", "secret.ipynb", "deep/x.ipynb")
    inside = laid(tmp_path / "in", "ada/x.ipynb")
    os.symlink(outside, inside / "bob")
    os.symlink(outside / "secret.ipynb", inside / "eve.ipynb")
    os.symlink(outside, inside / "ada" / "more")
    os.symlink("/", inside / "ada" / "lab1")
    os.symlink("..", inside / "ada" / "up")
    os.mkfifo(inside / "ada" / "pipe.ipynb")
    assert found(inside) == {"ada": ["ada/pipe.ipynb", "ada/x.ipynb"], "bob": ["bob"], "eve": ["eve.ipynb"]}


def test_nothing_there(tmp_path):
    empty, packed = laid(tmp_path, "empty/") / "empty", laid(tmp_path / "zips", "all.zip")
    for folder, why in ((tmp_path / "none", "cannot be read"), (empty, "holds no submission"),
                        (packed, "unpack them first")):
        with pytest.raises(VosError, match=why):
            find(folder, "lab1")


def test_two_students_never_share_a_name(tmp_path):
    laid(tmp_path, "a b/x.ipynb", "a_b/x.ipynb", "A_B/x.ipynb", "a%b/")
    names = found(tmp_path)
    assert len({n.casefold() for n in names}) == 4 and names == found(tmp_path)


@given(st.text(min_size=1, max_size=200))
def test_names_are_safe(who):
    name = safe(who)
    assert re.fullmatch(r"[\w@-][\w.@-]{0,90}", name) and not name.endswith(".") and safe(who) == name
    assert name.lower() not in ("con", "nul", "aux", "prn", "com1", "lpt1") and len(name.encode()) < 255


@pytest.mark.parametrize(("who", "name"), [("Ada Lovelace", "Ada_Lovelace"), ("../../etc", "etc"), ("a/b\\c", "a_b_c"),
                                           ("x@uni.edu", "x@uni.edu"), ("<img src=x>", "img_src_x"), ("-rf", "rf")])
def test_known_names(who, name):
    assert safe(who) == name
