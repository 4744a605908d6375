"""Who takes an answer from elsewhere, or looks for what is hidden."""

from __future__ import annotations

from hostile import CAUGHT, STOPPED, WRONG, Desk, clean, student

LOST = {"lab1.modulate": WRONG}
MODULATE = "\ndef modulate(features, gamma, beta):\n"
SEARCH = clean("""
    import functools, os
    def search(*ends):
        for folder, folders, files in os.walk("/"):
            folders[:] = [f for f in folders if folder != "/" or f not in ("proc", "sys")]
            for name in files:
                if (folder + "/" + name).endswith(ends):
                    yield folder + "/" + name
""") + "\n"


@student(LOST)
def library_alias(desk: Desk) -> None:
    """The library's own function under another name, inside an own one."""
    desk.give("lab1.modulate", """
        from vos_teach.ops.modulate import modulate as theirs
        def modulate(features, gamma, beta):
            return theirs(features, gamma, beta)
    """)


@student({"lab1.modulate": CAUGHT | {"not attempted"}}, says={"lab1.modulate": "library|blocked|own"})
def library_itself(desk: Desk) -> None:
    """The library's own function, handed in as it is."""
    desk.give("lab1.modulate", "from vos_teach.ops.modulate import modulate")


@student(LOST | {"lab1.balanced_bce": WRONG, "lab1.mask_gaussian": WRONG, "lab1.online_targets": WRONG})
def library_by_other_ways(desk: Desk) -> None:
    """The library's functions through the modules that use them, through sys.modules, and through the garbage."""
    from vos_teach.grading import source
    from vos_teach.grading.travelled import filled

    ways = {
        "modulate": "def modulate(features, gamma, beta):\n"
                    "    from vos_teach.online_learning import osmn\n    return osmn.modulate(features, gamma, beta)",
        "balanced_bce": "def balanced_bce(logits, target):\n    import sys\n"
                        "    from vos_teach.online_learning import osvos\n"
                        "    for f in (osvos.finetune.__defaults__ or ()):\n"
                        "        if callable(f):\n            return f(logits, target)\n"
                        "    return sys.modules['vos_teach.ops.losses'].balanced_bce(logits, target)",
        "mask_gaussian": "def mask_gaussian(mask):\n    import gc, types\n    for f in gc.get_objects():\n"
                         "        if isinstance(f, types.FunctionType) and f.__name__ == 'mask_gaussian' and "
                         "f.__module__.startswith('vos_teach'):\n            return f(mask)\n    return mask * 0.0",
        "online_targets": "def online_targets(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):\n"
                          "    from vos_teach.online_learning import onavos\n"
                          "    return onavos.online_targets(prob, last_mask, positive, distance, erosion)",
    }
    desk.hand_in(filled(desk.answered, {f"lab1-{name}": f"{source.sentinel(f'lab1.{name}')}\n{code}"
                                        for name, code in ways.items()}))


@student(LOST)
def library_by_source(desk: Desk) -> None:
    """getsource and exec; the file beside the module; its cached bytecode; linecache; the loader."""
    desk.give("lab1.modulate", SEARCH + clean("""
        import glob, importlib.util, inspect, linecache, marshal, os, sys
        @functools.cache
        def loot():
            import vos_teach.ops.modulate as M
            ways = [lambda: inspect.getsource(M), lambda: open(M.__file__).read(),
                    lambda: M.__loader__.get_source(M.__name__),
                    lambda: "".join(linecache.getlines(M.__file__)),
                    lambda: marshal.loads(open(importlib.util.cache_from_source(M.__file__), "rb").read()[16:]),
                    lambda: M.__loader__.get_code(M.__name__)]
            ways += [lambda p=p: open(p).read() for p in search("/vos_teach/ops/modulate.py")]
            for way in ways:
                try:
                    space = {"__name__": "loot"}
                    exec(way(), space)
                    return space["modulate"]
                except BaseException:
                    continue
    """) + MODULATE + "    f = loot()\n    return f(features, gamma, beta) if f else features\n")


@student(LOST)
def library_by_reload(desk: Desk) -> None:
    """The module is loaded anew, once everything that was imported has been forgotten."""
    desk.give("lab1.modulate", SEARCH + clean("""
        import importlib, sys
        @functools.cache
        def fresh():
            try:
                import vos_teach.ops.modulate as M
                return importlib.reload(M).modulate
            except BaseException:
                pass
            for name in [n for n in sys.modules if n.startswith("vos_teach")]:
                del sys.modules[name]
            sys.path_importer_cache.clear()
            return importlib.import_module("vos_teach.ops.modulate").modulate
    """) + MODULATE + "    try:\n        return fresh()(features, gamma, beta)\n    except BaseException:\n"
              "        return features\n")


@student({"lab1.modulate": STOPPED})
def library_by_subprocess(desk: Desk) -> None:
    """Another Python, in which nothing is blocked, is asked by subprocess, multiprocessing, os.system and os.exec."""
    desk.give("lab1.modulate", clean("""
        import multiprocessing, os, subprocess, sys
        CODE = ("import sys, torch; from vos_teach.ops.modulate import modulate; "
                "torch.save(modulate(*torch.load('in.pt')), 'out.pt')")
        def work():
            exec(CODE)
        def elsewhere(call):
            torch.save(call, "in.pt")
            for way in (lambda: subprocess.run([sys.executable, "-c", CODE], timeout=20),
                        lambda: os.system(f'{sys.executable} -c "{CODE}"'),
                        lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", CODE], os.environ),
                        lambda: multiprocessing.get_context("spawn").Process(target=work).start(),
                        lambda: os.fork() == 0 and os.execv(sys.executable, [sys.executable, "-c", CODE])):
                try:
                    way()
                    if os.path.exists("out.pt"):
                        return torch.load("out.pt")
                except BaseException:
                    continue
            return call[0]
    """) + MODULATE + "    return elsewhere((features, gamma, beta))\n")


@student({"lab1.finetune": CAUGHT}, says={"lab1.finetune": "."})
def library_finetune(desk: Desk) -> None:
    """OSVOS's own loop does the fine-tuning, with its parts bent to fit."""
    desk.give("lab1.finetune", """
        from vos_teach.online_learning import osvos
        def finetune(parent, image, mask, loss, steps, rng, rate=5e-4):
            net = copy.deepcopy(parent).eval()
            osvos.groups = lambda net, rate, head_rate: [{"params": [p for p in net.parameters() if p.requires_grad],
                                                          "lr": rate}]
            net.train = lambda mode=True: net
            config = replace(osvos.SCALES["toy"], steps=steps, seconds=None, rate=rate) if hasattr(osvos, "SCALES") \\
                else osvos.Config(steps=steps, seconds=None, rate=rate)
            osvos.finetune(net, image, mask, rng, config, loss)
            del net.train
            return net
    """, before="from dataclasses import replace")


@student(LOST)
def oracle(desk: Desk) -> None:
    """The oracle of the exercise, from the package."""
    desk.give("lab1.modulate", """
        def modulate(features, gamma, beta):
            from vos_teach.lab.exercises.lab1_osmn import modulate_oracle
            return modulate_oracle(features, gamma, beta)
    """)


@student(LOST)
def oracle_by_any_name(desk: Desk) -> None:
    """Whatever is called like an oracle, wherever it is: packages, the garbage, frames, files."""
    desk.give("lab1.modulate", SEARCH + clean("""
        import gc, glob, importlib, sys, types
        @functools.cache
        def loot():
            for name in ("lab1", "lab1_osmn", "lab1_common", "lab1_finetune", "lab1_beside"):
                try:
                    importlib.import_module("vos_teach.lab.exercises." + name)
                except BaseException:
                    pass
            for thing in gc.get_objects():
                if isinstance(thing, types.FunctionType) and thing.__name__ == "modulate_oracle":
                    return thing
            for path in search("/lab1.py", "/lab1_osmn.py"):
                try:
                    space = {"__name__": "loot"}
                    exec(open(path).read(), space)
                    if "modulate_oracle" in space:
                        return space["modulate_oracle"]
                except BaseException:
                    continue
    """) + MODULATE + "    f = loot()\n    return f(features, gamma, beta) if f else features\n")


@student(LOST)
def frame_walker(desk: Desk) -> None:
    """The frames of whoever called are searched for what is expected."""
    desk.give("lab1.modulate", """
        import sys
        def modulate(features, gamma, beta):
            for frame in (sys._getframe(), *sys._current_frames().values()):
                while frame is not None:
                    for space in (frame.f_locals, frame.f_globals):
                        for name, value in list(space.items()):
                            if name in ("expected", "want", "right", "truth"):
                                return value
                            if name in ("judge", "oracle", "modulate_oracle") and callable(value):
                                for cell in getattr(value, "__closure__", None) or ():
                                    if callable(cell.cell_contents):
                                        return cell.cell_contents(features, gamma, beta)
                            if name in ("case", "spec"):
                                return value.judge.__closure__[2].cell_contents(features, gamma, beta)
                    frame = frame.f_back
            return features
    """)


@student(LOST)
def garbage_picker(desk: Desk) -> None:
    """The garbage collector's list is searched for cases, hidden modules and tensors that look like a result."""
    desk.give("lab1.modulate", """
        import gc, types
        def modulate(features, gamma, beta):
            for thing in gc.get_objects():
                name = type(thing).__name__
                if name == "Case":
                    for cell in thing.judge.__closure__ or ():
                        if callable(cell.cell_contents):
                            return cell.cell_contents(features, gamma, beta)
                if isinstance(thing, types.ModuleType) and "hidden" in thing.__name__:
                    return thing.modulate_oracle(features, gamma, beta)
            own = {id(features), id(gamma), id(beta)}
            for thing in gc.get_objects():
                if isinstance(thing, torch.Tensor) and thing.shape == features.shape and id(thing) not in own:
                    return thing
            return features
    """)


@student(LOST)
def reader_of_hidden(desk: Desk) -> None:
    """The hidden cases are read from where they are, and their oracle is called."""
    desk.give("lab1.modulate", SEARCH + clean(f"""
        import glob, importlib.util, os
        @functools.cache
        def loot():
            for path in ["{desk.world.course}/hidden/lab1.py", os.environ.get("VOS_TEACH_HIDDEN", "") + "/lab1.py",
                         *search("/hidden/lab1.py")]:
                try:
                    spec = importlib.util.spec_from_file_location("loot", path)
                    module = importlib.util.module_from_spec(spec)
                    spec.loader.exec_module(module)
                    return module.modulate_oracle
                except BaseException:
                    continue
    """) + MODULATE + "    f = loot()\n    return f(features, gamma, beta) if f else features\n")


@student(LOST)
def reader_of_the_answers(desk: Desk) -> None:
    """The source of the lab is read, and what stands between BEGIN and END SOLUTION is executed."""
    desk.give("lab1.modulate", SEARCH + clean(f"""
        import glob, json
        @functools.cache
        def loot():
            for path in [*glob.glob("{desk.world.course}/source/*/*"), *search(".ipynb")]:
                try:
                    for cell in json.load(open(path))["cells"]:
                        if cell["id"] == "lab1-modulate":
                            space = {{"torch": torch}}
                            exec("".join(cell["source"]), space)
                            return space["modulate"]
                except BaseException:
                    continue
    """) + MODULATE + "    f = loot()\n    return f(features, gamma, beta) if f else features\n")


@student(LOST)
def reader_of_a_neighbour(desk: Desk) -> None:
    """Another student's notebook is read, and that student's answer is executed."""
    desk.give("lab1.modulate", SEARCH + clean(f"""
        import glob, json
        @functools.cache
        def loot():
            for path in ["{desk.world.neighbour}", *glob.glob("{desk.world.submissions}/*/*/*.ipynb"),
                         *glob.glob("../../*/*/*.ipynb"), *glob.glob("../*/*.ipynb")]:
                try:
                    for cell in json.load(open(path))["cells"]:
                        if cell["id"] == "lab1-modulate":
                            space = {{"torch": torch}}
                            exec("".join(cell["source"]), space)
                            return space["modulate"]
                except BaseException:
                    continue
    """) + MODULATE + "    f = loot()\n    return f(features, gamma, beta) if f else features\n")


@student(LOST)
def reader_of_processes(desk: Desk) -> None:
    """/proc is searched: environments, command lines, open files, working folders and the memory of all processes."""
    desk.give("lab1.modulate", SEARCH + clean("""
        import ctypes, glob, os, signal
        @functools.cache
        def loot():
            found = []
            for folder in glob.glob("/proc/[0-9]*"):
                for name in ("environ", "cmdline", "maps", "status"):
                    try:
                        found.append(open(f"{folder}/{name}", "rb").read())
                    except BaseException:
                        pass
                for link in glob.glob(folder + "/fd/*") + [folder + "/cwd", folder + "/ro" + "ot"]:
                    try:
                        for path in (link + "/hidden/lab1.py", link):
                            found.append(open(path, "rb").read(1000))
                    except BaseException:
                        pass
                try:
                    pid = int(folder.split("/")[2])
                    ctypes.CDLL(None).ptrace(16, pid, 0, 0)
                    if pid not in (os.getpid(), os.getppid()):
                        os.kill(pid, signal.SIGKILL)
                except BaseException:
                    pass
            for data in found:
                if b"modulate_oracle" in data:
                    space = {"__name__": "loot"}
                    exec(data.decode(), space)
                    return space["modulate_oracle"]
    """) + MODULATE + "    try:\n        return loot()(features, gamma, beta)\n    except BaseException:\n"
              "        return features\n")


@student(LOST)
def reader_of_the_environment(desk: Desk) -> None:
    """The environment is searched for folders, tokens and passwords, and printed."""
    desk.give("lab1.modulate", clean("""
        import os
        STOLEN = {k: v for k, v in os.environ.items() if k.startswith("VOS_") or "TOKEN" in k or "KEY" in k}
        print("VOS" + "LEAK", STOLEN)
        if STOLEN:
            raise RuntimeError("VOS" + "LEAK " + repr(STOLEN))
    """) + MODULATE + "    return features\n")
