"""The house itself: versions, environment, Makefile, layering, what a wheel holds, and no paths of one machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vos_teach"
PYTHONS = ["3.10.0", "3.11.9", "3.12.3", "3.13.0"]
PLATFORMS = [("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted(PACKAGE.rglob("*.py"))


def files() -> list[Path]:
    """Every file that is or could be committed."""
    try:
        ask = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
        listed = subprocess.run(ask, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


# ---- versions

def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def environment(python: str, platform: tuple[str, str, str]) -> dict[str, str]:
    return {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": "",
            "sys_platform": platform[0], "platform_system": platform[1], "os_name": platform[2]}


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p[0])
@pytest.mark.parametrize("python", PYTHONS)
def test_each_requirement_has_one_exact_version_within_its_bounds(python, platform):
    where = environment(python, platform)
    exact = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(where):
            name = canonicalize_name(pin.name)
            assert name not in exact, f"{name} has two versions on Python {python}"
            exact[name] = str(pin.specifier)
    wanted = PROJECT["dependencies"] + [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    for requirement in map(Requirement, wanted):
        if requirement.name == PROJECT["name"] or (requirement.marker and not requirement.marker.evaluate(where)):
            continue
        version = exact.get(canonicalize_name(requirement.name), "")
        assert re.fullmatch(r"==[\w.]+", version), f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version[2:]), f"{requirement} excludes {version}"


def test_constraints_do_no_harm_on_other_platforms():
    for pin in pins():
        assert not re.match(r"nvidia-|cuda-|triton", pin.name), f"{pin.name}: torch itself asks for the right one"
        assert not (pin.extras or pin.url), f"{pin}: pip takes no extras or addresses in constraints"
        assert "+" not in str(pin.specifier), f"{pin}: a build for one kind of machine"


def test_conda_has_one_list_of_dependencies():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    plain = [re.split(r"[=<>! ]", item)[0] for item in conda if isinstance(item, str)]
    assert plain == ["python", "pip"]
    (section,) = [item["pip"] for item in conda if isinstance(item, dict)]
    options = dict(line.split(maxsplit=1) for line in section)
    assert len(options) == len(section) == 2 and options["-c"] == "constraints.txt"
    project = Requirement(options["-e"].replace(".", PROJECT["name"], 1))
    assert project.extras and project.extras <= set(PROJECT["optional-dependencies"])


def test_readme_names_the_pinned_torch_and_only_files_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    exact = {str(pin) for pin in pins() if pin.name in ("torch", "torchvision")}
    assert set(re.findall(r"\btorch(?:vision)?==[\w.]+", text)) == exact
    later = {"lectures/figures/osvos.png"}  # made by code, from a real run
    for page in ("README.md", "CREDITS.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
        assert [link for link in links if link not in later and not (ROOT / link).exists()] == []


# ---- make

def test_help_names_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()
    assert {"demo", "test", "test-fast", "acceptance", "lint", "clean", "help"} <= set(targets)
    if shutil.which("make") is None:
        pytest.skip("make is absent")
    said = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert [t for t in targets if not re.search(rf"make {t}: \w", said)] == []


FAKE_PYTHON = """#!/bin/sh
# Stands in for Python: writes down what it was asked, and makes a "venv" that is this script again.
case "$1 $2" in
  "-c import pip"*|"-c import sys"*) exit ${TOO_OLD:-0} ;;
  "-m venv") for last; do :; done
    rm -rf "$last"; mkdir -p "$last/bin"; cp "$0" "$last/bin/python"; echo venv >> "$LOG" ;;
  "-m ensurepip") exit ${NO_ENSUREPIP:-0} ;;
  "-m pip") echo pip >> "$LOG"; exit ${NO_NETWORK:-0} ;;
  "-m ruff") echo ruff >> "$LOG" ;;
  "--version "*) echo "Python 3.8.1" ;;
esac
"""


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="needs make and sh")
def test_make_builds_repairs_and_renews_the_venv(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python, log = tmp_path / "fake-python", tmp_path / "log"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)

    def make(**variables: str) -> tuple[int, list[str], str]:
        log.write_text("")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(["make", "-C", str(tmp_path), "lint", f"PYTHON={python}"], capture_output=True,
                              text=True, env={**clean, "LOG": str(log), **variables})
        return done.returncode, log.read_text().split(), done.stderr

    code, asked, said = make(TOO_OLD="1")
    assert code and asked == [] and "needs Python 3.10 or newer" in said and "3.8.1" in said
    code, asked, said = make(NO_ENSUREPIP="1")
    assert code and asked == ["venv"] and "venv module is incomplete" in said
    code, asked, _ = make(NO_NETWORK="1")  # what ensurepip left is not trusted, and pip breaks off
    assert code and asked == ["venv", "pip"]
    assert make()[:2] == (0, ["venv", "pip", "ruff"])  # a half-made venv is made anew
    assert make()[:2] == (0, ["ruff"])  # and then left alone
    later = (tmp_path / ".venv" / ".ready-dev").stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (later, later))
    assert make()[:2] == (0, ["pip", "ruff"])  # stale: brought up to date in place
    os.utime(tmp_path / "constraints.txt", (0, 0))
    (tmp_path / ".venv" / "bin" / "python").unlink()
    (tmp_path / ".venv" / ".ready-dev").unlink()
    assert make()[:2] == (0, ["venv", "pip", "ruff"])  # its Python has gone


def test_ci_runs_make_test_and_nothing_else():
    script = ROOT / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert lines == ["exec make test"]
    assert os.name == "nt" or os.access(script, os.X_OK)


# ---- the package

STAGES = {"baselines", "online_learning", "mask_propagation", "flow_propagation", "rnn", "transformers"}
RANK = {
    "errors": -1,
    **dict.fromkeys(["clip", "listed", "ops", "nn", "packed"], 0),
    **dict.fromkeys(["segmenter", "data", "metrics", "viz", "weights"], 1),
    **dict.fromkeys([*STAGES, "engine"], 2),
    **dict.fromkeys(["registry", "lab"], 3),
    **dict.fromkeys(["train", "bench", "grading", "report"], 4),
    "claims_common": 4.5,
    **dict.fromkeys(["claims", "claims_memory", "claims_objects", "claims_recurrence", "claims_sparse", "claims_speed",
                     "claims_streams", "demo"], 5),
    **dict.fromkeys(["commands_claim", "commands_weights"], 5.5),
    "cli": 6,
}


def imports(path: Path) -> set[str]:
    """The parts of vos_teach (clip, ops, ...) that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write 'from vos_teach...', not a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {parts[1] for name in found if (parts := name.split("."))[0] == "vos_teach" and len(parts) > 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in RANK, f"vos_teach/{own} has no place in the order of imports: give it one in RANK, in this file"
    for other in imports(path) - {own, "__version__"}:
        assert other in RANK, f"{path.name} imports vos_teach.{other}, which has no place in RANK"
        assert RANK[other] <= RANK[own], f"{own} may not import {other}: imports point the other way"
        assert not {own, other} <= STAGES, f"stage {own} may not import stage {other}"


def test_the_order_of_imports_can_be_broken(tmp_path):
    module = tmp_path / "x.py"
    module.write_text("def f():\n    from vos_teach import cli\n    import vos_teach.rnn.rvos\n")
    assert imports(module) == {"cli", "rnn"}


def test_files_stay_small():
    assert {p.name: n for p in MODULES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 350} == {}


def test_nothing_is_unpickled():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not modules & {"pickle", "dill", "joblib", "cloudpickle", "shelve"}, path.name
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            given = {k.arg: ast.unparse(k.value) for k in call.keywords}
            if ast.unparse(call.func) == "torch.load":
                assert given.get("weights_only") == "True", f"{path.name}:{call.lineno}: torch.load unpickles"
            assert given.get("allow_pickle", "False") == "False", f"{path.name}:{call.lineno}: allow_pickle"


def test_shipped_weights_are_small_and_no_pickles():
    shipped = [p for p in files() if (PACKAGE / "assets" / "weights") in p.parents]
    assert {p.suffix for p in shipped} <= {".safetensors", ".md", ".json"}
    sizes = {p.name: p.stat().st_size / 1e6 for p in shipped if p.suffix == ".safetensors"}
    assert {name: size for name, size in sizes.items() if size > 4} == {} and sum(sizes.values()) <= 40


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(rb"(?<![\w.~/}])/(?:work|root|home|Users)(?=[/\"'\s])|\b[A-Z]:\\\\?Users\b")
    assert place.search(b"see /" + b"root/x") and not place.search(b"../data/" + b"work/x")
    found = {}
    for path in files():
        data = path.read_bytes()
        if b"\0" not in data[:8000] and (hit := place.search(data)):
            found[path.relative_to(ROOT).as_posix()] = data[hit.start() : hit.start() + 60]
    assert found == {}


@pytest.mark.slow
def test_a_wheel_holds_the_package_with_its_weights_and_no_answers(tmp_path):
    source = tmp_path / "source"
    for path in files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for name in ("vos_teach/assets/weights/example.safetensors", "assignments/labs/lab0.py", "tests/test_x.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"x")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    package = {p.relative_to(source).as_posix() for p in (source / "vos_teach").rglob("*") if p.is_file()}
    package = {n for n in package if not n.endswith(".gitkeep")}
    assert "vos_teach/assets/weights/example.safetensors" in names
    assert names - package == set(), "a wheel holds the package and nothing else"
    assert package - names - {n for n in package if "__pycache__" in n} == set(), "left out: see package-data"
