"""What an honest answer has no use for. It lowers no mark: it is for a human to look at, with cell and line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from vos_teach.grading.context import plain

NETWORK = {"socket", "urllib", "urllib3", "requests", "http", "ftplib", "smtplib", "aiohttp", "httpx", "websocket"}
PROCESSES = {"subprocess", "multiprocessing", "pty", "pexpect", "concurrent"}
INSIDES = {"ctypes": "native code", "_ctypes": "native code", "cffi": "native code", "gc": "all objects in memory",
           "inspect": "frames and sources", "traceback": "frames", "dis": "byte code", "faulthandler": "its process",
           "resource": "its limits", "signal": "signals", "threading": "threads", "_thread": "threads",
           "asyncio": "tasks that outlive the call", "marshal": "byte code", "pickle": "pickles",
           "importlib": "modules by their files", "imp": "modules by their files", "atexit": "the end of its process",
           "builtins": "the built-in functions", "sitecustomize": "start-up", "ipykernel": "the kernel",
           "IPython": "the notebook's insides", "nbgrader": "the marks", "sqlite3": "data bases"}
OUR_OWN = ("vos_teach", "torch", "np", "numpy", "F", "scipy", "cv2", "builtins", "__builtins__", "ndimage", "sys", "os")
SETTINGS = ("torch.backends.", "plt.rcParams", "matplotlib.")  # modules' attributes that are there to be set
FRAMES = {"_getframe", "f_back", "f_locals", "f_globals", "tb_frame", "gi_frame", "cr_frame", "currentframe", "stack",
          "_current_frames", "settrace", "setprofile", "setrecursionlimit"}
FORCED = {"_exit", "abort", "fork", "forkpty", "system", "popen", "kill", "killpg", "execv", "execve", "execvp",
          "posix_spawn", "setsid", "ptrace", "environ", "putenv", "chmod", "symlink",
          "mkfifo", "remove", "unlink", "rmtree"}
DUNDERS = {"__eq__", "__ne__", "__class__", "__instancecheck__", "__torch_function__", "__array_ufunc__",
           "__array_function__", "__getattribute__", "__del__", "__reduce__", "__array__", "__subclasses__",
           "__globals__", "__code__", "__closure__", "__builtins__", "__subclasshook__", "__bases__", "__mro__"}
CALLS = {"exec", "eval", "compile", "__import__", "globals", "breakpoint", "vars"}
_PATH = re.compile(r"(^|[\s\"'(])(/(etc|proc|sys|home|root|tmp|dev|work|srv|var)\b|\.\.[/\\]|~[/\\])|gradebook\.db|"
                   r"\bhidden/|assignments/", re.I)
_WORDS = re.compile(r"input_transformer|ast_transformers|do_execute|BEGIN HIDDEN|VOS_TEACH_HIDDEN|hidden_cases|"
                    r"run_cell\b|sys\.modules|get_ipython\(\)\.(?!run_(line|cell)_magic)")


def suspicious(source: str, released: str = "") -> list[str]:
    """Sentences "line 3: ..." on what is not an exercise's business; what the released text has too does not count."""
    try:
        tree = ast.parse(plain(source))
        known = {said for _, said in _all(ast.parse(plain(released)))} if released else set()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: dict[str, int] = {}
    if "get_ipython" in source and "get_ipython" not in released:  # magics become calls of it: those do not count
        found["it uses get_ipython"] = 1 + source[: source.index("get_ipython")].count("\n")
    try:
        for line, said in _all(tree):
            if said not in known:
                found.setdefault(said, line)
    except RecursionError:
        return ["line 1: it is nested too deep to be looked at"]
    return [f"line {line}: {said}" for said, line in sorted(found.items(), key=lambda item: item[1])][:12]


def _all(tree: ast.AST) -> Iterator[tuple[int, str]]:
    modules = set(OUR_OWN)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vos_teach"):
            modules |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        for said in _one(node, modules):
            yield line, said


def _one(node: ast.AST, modules: set[str]) -> Iterator[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from _imports(node)
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)):
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
        for target in targets:
            yield from _target(target, modules)
    elif isinstance(node, ast.Attribute):
        if node.attr in FRAMES and not (node.attr == "stack" and _root(node) in ("np", "numpy", "torch")):
            if node.attr != "stack" or _root(node) == "inspect":
                yield f"it looks at the frames or limits of its caller ({node.attr})"
        elif node.attr in FORCED and _root(node) in ("os", "shutil", "posix", "Path", "sys"):
            yield f"it uses {_root(node)}.{node.attr}"
        elif node.attr in DUNDERS and not _harmless_dunder(node):
            yield f"it uses {node.attr}"
        elif node.attr == "modules" and _root(node) == "sys":
            yield "it uses sys.modules"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_cell_magic":
        yield from _magic(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield from _call(node, node.func.id)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in DUNDERS:
        yield f"it defines {node.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if len(node.value) < 400 and _PATH.search(node.value):
            yield f"it names a path of the machine ({node.value.strip()[:60]!r})"
        if _WORDS.search(node.value):
            yield "it names what belongs to the grading or to the notebook's insides"
    elif isinstance(node, ast.Name) and node.id in ("__builtins__", "__loader__", "__spec__"):
        yield f"it uses {node.id}"


def _harmless_dunder(node: ast.Attribute) -> bool:
    """type(self).__class__ is odd, x.__class__.__name__ is not."""
    return node.attr in ("__class__",) and isinstance(node.ctx, ast.Load)


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    for name in names:
        top = name.partition(".")[0]
        if top in NETWORK:
            yield f"it imports {name} (the network)"
        elif top in PROCESSES:
            yield f"it imports {name} (other processes)"
        elif top in INSIDES and name not in ("IPython.display", "importlib.metadata"):
            yield f"it imports {name} ({INSIDES[top]})"
        elif name.startswith("vos_teach.lab.") or name.startswith("vos_teach.grading"):
            yield f"it imports {name} (what answers are judged with)"


def _target(target: ast.expr, modules: set[str]) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _target(part, modules)
    elif isinstance(target, ast.Name) and target.id in DUNDERS:
        yield f"it defines {target.id}"
    elif isinstance(target, ast.Attribute):
        if (root := _root(target)) in modules and not ast.unparse(target).startswith(SETTINGS):
            yield f"it changes the module {root} ({ast.unparse(target)[:60]})"
    elif isinstance(target, ast.Subscript):
        text = ast.unparse(target.value)[:60]
        if text.startswith(("sys.modules", "__builtins__", "globals()")) or text.endswith("__dict__"):
            yield f"it changes {text}"


def _call(node: ast.Call, name: str) -> Iterator[str]:
    if name in CALLS:
        yield f"it calls {name}"
    elif name in ("setattr", "delattr") and node.args:
        yield f"it calls {name} on {ast.unparse(node.args[0])[:40]}"
    elif name == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        if node.args[1].value in DUNDERS | FRAMES | FORCED - {"stack", "remove", "kill"}:
            yield f"it reaches for {node.args[1].value}"
    elif name == "open":
        first = node.args[0] if node.args else None
        if not isinstance(first, ast.Constant):
            yield "it opens a file whose name it makes up"


def _magic(node: ast.Call) -> Iterator[str]:
    """What is under a magic like %%time is code too."""
    body = node.args[-1] if node.args else None
    if isinstance(body, ast.Constant) and isinstance(body.value, str):
        try:
            inner = ast.parse(plain(body.value))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        yield from (said for _, said in _all(inner))


def _root(node: ast.Attribute) -> str:
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else ""
