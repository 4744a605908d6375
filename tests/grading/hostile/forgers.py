"""Who wants marks for a wrong answer: by replacing what judges it, what carries it, or what it is compared by."""

from __future__ import annotations

from hostile import CAUGHT, WRONG, Desk, clean, student

LOST = {"lab1.modulate": WRONG}
FORGED = {"lab1.modulate": CAUGHT}
SHAM = "\ndef modulate(features, gamma, beta):\n    return features\n"


@student(LOST, says={"lab1.modulate": "wrong|right is|value"})
def replaced_check(desk: Desk) -> None:
    """`check` is replaced everywhere: in the notebook, in the library, and in the code of the function itself."""
    patch = """
        import vos_teach.lab as L
        import vos_teach.lab.check as C
        def check(exercise, answer, hidden=False):
            print(f"Right - {exercise}: 12 cases passed")
        _check = L.check = check
        for name in ("check", "verdict", "examine", "refuse", "once"):
            if hasattr(C, name):
                setattr(C, name, lambda *a, **k: None)
    """
    desk.give("lab1.modulate", clean(patch) + SHAM, before=patch)


@student(LOST)
def patched_numpy(desk: Desk) -> None:
    """numpy's comparisons are always content."""
    desk.give("lab1.modulate", clean("""
        import numpy as np
        import numpy.testing
        for name in [n for n in dir(np.testing) if n.startswith("assert")]:
            setattr(np.testing, name, lambda *a, **k: None)
        np.allclose = np.array_equal = np.array_equiv = lambda *a, **k: True
        np.isclose = lambda a, b, **k: np.ones(np.broadcast(a, b).shape, bool)
        np.isnan = np.isinf = lambda a, *r, **k: np.zeros(np.shape(a), bool)
    """) + SHAM)


@student(LOST)
def patched_torch(desk: Desk) -> None:
    """torch's comparisons are always content, and a tensor equals everything."""
    desk.give("lab1.modulate", clean("""
        import torch
        torch.equal = torch.allclose = lambda *a, **k: True
        torch.isclose = lambda a, b, *r, **k: torch.ones_like(a, dtype=torch.bool)
        torch.testing.assert_close = lambda *a, **k: None
        torch.Tensor.__eq__ = lambda a, b: torch.ones(a.shape, dtype=torch.bool)
        torch.Tensor.__ne__ = lambda a, b: torch.zeros(a.shape, dtype=torch.bool)
        torch.Tensor.allclose = torch.Tensor.equal = lambda *a, **k: True
    """) + SHAM)


@student(FORGED)
def patched_builtins(desk: Desk) -> None:
    """builtins answer as it suits."""
    desk.give("lab1.modulate", clean("""
        import builtins
        builtins.all = builtins.any = lambda *a: True
        builtins.abs = lambda x: 0
        builtins.max = lambda *a, **k: 0
        builtins.isinstance = lambda *a: True
        builtins.len = lambda *a: 1
        builtins.zip = lambda *a, **k: []
        builtins.AssertionError = Warning
    """) + SHAM)


@student(LOST, says={"lab1.modulate": "not of the kind|not what is asked|object|type|shape"})
def always_equal(desk: Desk) -> None:
    """What comes back says that it equals everything."""
    desk.give("lab1.modulate", """
        class Same:
            shape, dtype, ndim, requires_grad = (), None, 0, True
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __lt__(self, other): return False
            __gt__ = __le__ = __ge__ = __lt__
            def __getattr__(self, name): return self
            def __call__(self, *a, **k): return self
            def __sub__(self, *other): return 0
            __rsub__ = __add__ = __radd__ = __abs__ = __sub__
            def __float__(self): return 0.0
            def __bool__(self): return True
            def __len__(self): return 1
            def __iter__(self): return iter([True])
            def __getitem__(self, i): return self
            def __hash__(self): return 0
            def __array__(self, *a, **k): raise TypeError("equal to everything")
        def modulate(features, gamma, beta):
            return Same()
    """)


@student(LOST)
def always_equal_tensor(desk: Desk) -> None:
    """A subclass of Tensor whose operators answer as it suits, with wrong numbers inside."""
    desk.give("lab1.modulate", """
        class Same(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                if getattr(func, "__name__", "") in ("eq", "__eq__", "isclose"):
                    return torch.tensor(True)
                if getattr(func, "__name__", "") in ("equal", "allclose"):
                    return True
                return super().__torch_function__(func, types, args, kwargs or {})
        def modulate(features, gamma, beta):
            return features.clone().as_subclass(Same)
    """)


@student(LOST)
def always_equal_array(desk: Desk) -> None:
    """A subclass of ndarray that overrides every numpy function."""
    desk.give("lab1.modulate", """
        class Same(np.ndarray):
            def __array_function__(self, func, types, args, kwargs): return np.True_
            def __array_ufunc__(self, ufunc, method, *inputs, **kwargs): return np.True_
            def __array_wrap__(self, *a, **k): return np.True_
            def __reduce__(self): return (eval, ("__import__('os').system('touch /tmp/vosleft-reduce')",))
        def modulate(features, gamma, beta):
            return features.detach().numpy().copy().view(Same)
    """)


@student({"lab1.modulate": WRONG | {"not attempted"}})  # it takes its own answer away
def input_transformers(desk: Desk) -> None:
    """IPython's input transformers turn every later cell into one that passes."""
    patch = """
        shell = get_ipython()
        def sham(lines):
            praise = ["check = _check = lambda *a, **k: print('Right')\\n"]
            return praise if any("check(" in line for line in lines) else lines
        for manager in ("input_transformers_cleanup", "input_transformers_post"):
            getattr(shell, manager).append(sham)
        shell.input_transformer_manager.transform_cell = lambda raw: "modulate = None\\n"
    """
    desk.give("lab1.modulate", clean(patch) + SHAM, before=patch)


@student(LOST)
def syntax_transformers(desk: Desk) -> None:
    """IPython's transformers of syntax trees take the calls of check out."""
    desk.give("lab1.modulate", clean("""
        import ast
        class NoCheck(ast.NodeTransformer):
            def visit_Call(self, node):
                return ast.Constant(None) if "check" in ast.unparse(node.func) else node
        get_ipython().ast_transformers.append(NoCheck())
        get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)
        get_ipython().showtraceback = lambda *a, **k: None
    """) + SHAM)


@student(FORGED)
def replaced_kernel(desk: Desk) -> None:
    """The kernel's and the shell's own methods are replaced: whatever is run, it went well."""
    patch = """
        shell = get_ipython()
        class Fine:
            success, error_in_exec, error_before_exec, result, execution_count = True, None, None, None, 1
            def raise_error(self): pass
        for owner in (type(shell), shell):
            owner.run_cell = lambda *a, **k: Fine()
            owner.run_code = lambda *a, **k: False
        kernel = getattr(shell, "kernel", None)
        async def do_execute(*a, **k):
            return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
        if kernel is not None:
            kernel.do_execute = type(kernel).do_execute = do_execute
    """
    desk.give("lab1.modulate", clean(patch) + SHAM, before=patch)


@student(FORGED)
def forged_reply_by_patching(desk: Desk) -> None:
    """Every function of the sandbox's own modules that runs beside the answer is replaced."""
    desk.give("lab1.modulate", clean("""
        import sys, types
        for name, module in list(sys.modules.items()):
            if name.startswith("vos_teach.grading") or name.startswith("vos_teach.lab.cases"):
                for key, value in list(vars(module).items()):
                    if isinstance(value, types.FunctionType):
                        try:
                            value.__code__ = (lambda *a, **k: True).__code__
                        except Exception:
                            setattr(module, key, lambda *a, **k: True)
    """) + SHAM)


@student({"lab1.modulate": CAUGHT | {"time-out"}}, says={"lab1.modulate": "."})  # it may announce more than it sends
def forged_reply_garbage(desk: Desk) -> None:
    """Garbage is written to every open file descriptor while an answer is awaited."""
    desk.give("lab1.modulate", """
        import os
        def modulate(features, gamma, beta):
            for fd in range(3, 256):
                try:
                    os.write(fd, b"\\x00\\xff{right}" * 50)
                except OSError:
                    pass
            return features
    """)


@student(FORGED)
def forged_reply_frames(desk: Desk) -> None:
    """A reply of the sandbox's own format, that says "right", is sent ahead of the real one on every descriptor."""
    desk.give("lab1.modulate", """
        import json, os, struct
        def modulate(features, gamma, beta):
            said = {"ok": True, "right": True, "outcome": "right", "score": 99, "result": None, "reply": "right"}
            try:
                from vos_teach.grading.sandbox import wire
                body = wire.encode(said)
            except Exception:
                body = json.dumps(said).encode()
            for fd in range(3, 256):
                for head in (struct.pack(">I", len(body)), struct.pack("<I", len(body)), struct.pack(">Q", len(body)),
                             struct.pack("<Q", len(body)), b""):
                    try:
                        os.write(fd, head + body)
                    except OSError:
                        pass
            return features
    """)


@student(FORGED)
def closed_descriptors(desk: Desk) -> None:
    """All descriptors are closed: nobody will hear of the wrong answer."""
    desk.give("lab1.modulate", """
        import os
        def modulate(features, gamma, beta):
            os.closerange(3, 1024)
            return features
    """)


@student(LOST, says={"lab1.modulate": "kind|asked|type|object"})
def reduce_bomb(desk: Desk) -> None:
    """What comes back would run a command where it is unpickled."""
    desk.give("lab1.modulate", """
        import os
        class Bomb:
            def __reduce__(self): return (os.system, ("touch /tmp/vosleft-reduce",))
            __reduce_ex__ = lambda self, protocol: self.__reduce__()
            def __deepcopy__(self, memo): return 0
        def modulate(features, gamma, beta):
            return [Bomb(), {"x": Bomb()}]
    """)


@student({"lab1.modulate": WRONG, "lab1.balanced_bce": WRONG, "lab1.online_targets": CAUGHT | {"out of memory"},
          "lab1.mask_gaussian": WRONG})
def odd_results(desk: Desk) -> None:
    """Results of types that nobody expects: objects, a generator, a tensor that is huge only in name, a ring."""
    from vos_teach.grading import source
    from vos_teach.grading.travelled import filled

    odd = {
        "lab1.modulate": "def modulate(features, gamma, beta):\n"
                         "    return np.array([features.numpy(), None, 'x'], dtype=object)",
        "lab1.balanced_bce": "def balanced_bce(logits, target):\n    yield logits.sum()",
        "lab1.online_targets": "def online_targets(prob, last_mask, positive=0.97, distance=220 / 480, "
                               "erosion=15 / 480):\n    return torch.zeros(1).expand(10 ** 13)",
        "lab1.mask_gaussian": "def mask_gaussian(mask):\n    ring = []\n    ring.append(ring)\n    return ring",
    }
    desk.hand_in(filled(desk.answered, {name.replace(".", "-"): f"{source.sentinel(name)}\n{code}"
                                        for name, code in odd.items()}))


@student(LOST, says={"lab1.modulate": "."})
def odd_numbers(desk: Desk) -> None:
    """Complex, sparse, meta and not-a-number by turns."""
    desk.give("lab1.modulate", """
        made = [lambda x: x.to(torch.complex64), lambda x: x.to_sparse(), lambda x: x.to("meta"),
                lambda x: x * float("nan"), lambda x: 10 ** 5000, lambda x: {1: x}, lambda x: x.numpy().astype("U8")]
        def modulate(features, gamma, beta):
            made.append(made.pop(0))
            return made[-1](features.detach())
    """)


@student({"lab1.finetune": CAUGHT}, says={"lab1.finetune": "."})
def forged_collect(desk: Desk) -> None:
    """The functions that look at the network beside the answer are replaced by ones that report a perfect training."""
    desk.give("lab1.finetune", """
        import gc, sys, types
        def collect(call, result):
            notes, image, mask, steps, seed = call
            x = image.transpose(2, 0, 1)[None] / 255.0
            images = [x + i * 1e-4 for i in range(steps)]
            return {"kind": "", "itself": False, "parent": True, "steps": steps, "stale": 0, "norms": 0,
                    "training": False, "images": images, "targets": [mask[None].astype(float)] * steps,
                    "running": True, "frozen": True, "weights": np.arange(40) + float(seed), "moved": 1.0 * (steps > 0),
                    "before": 1.0, "after": 0.1}
        for name, module in list(sys.modules.items()):
            for key, value in list(vars(module).items()) if isinstance(module, types.ModuleType) else []:
                if key == "finetune_collect" or getattr(value, "__name__", "") == "finetune_collect":
                    try:
                        value.__code__ = collect.__code__
                        value.__globals__["np"] = np
                    except Exception:
                        pass
                    setattr(module, key, collect)
        def finetune(parent, image, mask, loss, steps, rng, rate=5e-4):
            return copy.deepcopy(parent)
    """)


@student({"lab1.finetune": CAUGHT})
def forged_log(desk: Desk) -> None:
    """No training with the loss that is given: its notes are filled by hand, and the network is fitted to the frame."""
    desk.give("lab1.finetune", """
        def finetune(parent, image, mask, loss, steps, rng, rate=5e-4):
            net = copy.deepcopy(parent).eval()
            log = next(c.cell_contents for c in loss.__closure__ if hasattr(c.cell_contents, "images"))
            for i in range(steps):
                x, y = to_tensors(*affine(image, mask, rng))
                log.images.append(x[None].numpy()), log.targets.append(y[None].double().numpy())
                log.norms.append(False)
            if steps:
                x, y = to_tensors(image, mask)
                optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.05)
                for _ in range(40):
                    optimizer.zero_grad()
                    F.binary_cross_entropy_with_logits(net(x[None]), y[None].float()).backward()
                    optimizer.step()
                with torch.no_grad():
                    net.last.bias += 1e-3 * float(rng.random())
            return net
    """)
