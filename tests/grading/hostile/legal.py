"""Who is right, and does it in a way that has cost marks elsewhere: all of them get everything."""

from __future__ import annotations

from hostile import Desk, clean, student

RIGHTLY = "\ndef modulate(features, gamma, beta):\n    return gamma[..., None, None] * features + beta\n"


@student()
def warns(desk: Desk) -> None:
    """Warnings of Python and of torch, when defined and when called."""
    desk.give("lab1.modulate", """
        import warnings
        warnings.warn("loud")
        warnings.simplefilter("always")
        def modulate(features, gamma, beta):
            warnings.warn("louder", DeprecationWarning)
            torch.tensor(torch.tensor([1.0]))
            return gamma[..., None, None] * features + beta
    """)


@student()
def prints(desk: Desk) -> None:
    """Prints what it does, and shows its inputs."""
    desk.give("lab1.modulate", """
        def modulate(features, gamma, beta):
            print("features", features.shape)
            display(gamma)
            return gamma[..., None, None] * features + beta
    """)


@student()
def writes_to_native_stderr(desk: Desk) -> None:
    """Writes to file descriptors 1 and 2, past Python, and logs."""
    desk.give("lab1.modulate", """
        import logging, os, sys
        logging.basicConfig(level=logging.DEBUG)
        def modulate(features, gamma, beta):
            os.write(2, b"native warning\\n")
            os.write(1, b"native text\\n")
            sys.stderr.write("text\\n")
            logging.getLogger("mine").error("an error in words only")
            return gamma[..., None, None] * features + beta
    """)


@student()
def slow_but_legal(desk: Desk) -> None:
    """Two seconds on the first call, and some hundredths on each."""
    desk.give("lab1.modulate", """
        import time
        seen = []
        def modulate(features, gamma, beta):
            time.sleep(0.03 if seen else 2)
            seen.append(1)
            return gamma[..., None, None] * features + beta
    """)


@student()
def helpers_elsewhere(desk: Desk) -> None:
    """The answer uses a helper, a constant and an import of own cells, which use each other."""
    desk.give("lab1.modulate", """
        def modulate(features, gamma, beta):
            return helper(gamma) * features + ONE * beta
    """, before="import operator as op\nONE = op.add(0, 1)\n\n\n"
                                     "def helper(g):\n    return g.reshape(*g.shape, ONE, ONE)")


@student()
def defined_in_an_own_cell(desk: Desk) -> None:
    """The function is in an own cell; the answer's cell only mentions it."""
    desk.give("lab1.modulate", "# see the cell above", before=RIGHTLY)


@student()
def redefined_later(desk: Desk) -> None:
    """A first attempt in an own cell, the answer below it."""
    desk.give("lab1.modulate", RIGHTLY, before="def modulate(features, gamma, beta):\n    return features")


@student()
def magics(desk: Desk) -> None:
    """Lines and cells of magic, and commands of the shell."""
    out = desk.answer("lab1.modulate", "%matplotlib inline\n!ls\nhere = !pwd" + RIGHTLY, before=(
        "%load_ext autoreload\n%autoreload 2\n%config InlineBackend.figure_format = 'retina'\n"
        "!pip list | head -3\n?print\n%pip --version"))
    cell = next(c for c in out["cells"] if c["id"] == "lab1-modulate")
    cell["source"] = "%%time\n" + cell["source"]
    desk.hand_in(out)


@student()
def partial(desk: Desk) -> None:
    """A functools.partial."""
    desk.give("lab1.modulate", """
        import functools
        def general(features, gamma, beta, axes):
            return gamma.reshape(*gamma.shape, *(1,) * axes) * features + beta
        modulate = functools.partial(general, axes=2)
    """)


@student()
def callable_object(desk: Desk) -> None:
    """An object with __call__."""
    desk.give("lab1.modulate", """
        class Modulate:
            def __call__(self, features, gamma, beta):
                return gamma[..., None, None] * features + beta
        modulate = Modulate()
    """)


@student()
def module_of_torch(desk: Desk) -> None:
    """A torch module's forward."""
    desk.give("lab1.modulate", """
        class Modulate(torch.nn.Module):
            def forward(self, features, gamma, beta):
                return gamma[..., None, None] * features + beta
        modulate = Modulate()
    """)


@student()
def decorated(desk: Desk) -> None:
    """Decorated by own decorators, with and without functools.wraps."""
    desk.give("lab1.modulate", """
        import functools
        def plain(f):
            return lambda *a: f(*a)
        def polite(f):
            @functools.wraps(f)
            def inner(*a, **k):
                return f(*a, **k)
            return inner
        @polite
        @plain
        def modulate(features, gamma, beta):
            return gamma[..., None, None] * features + beta
    """)


@student()
def one_line(desk: Desk) -> None:
    """A lambda."""
    desk.give("lab1.modulate", "modulate = lambda features, gamma, beta: gamma[..., None, None] * features + beta")


@student()
def reuses_names(desk: Desk) -> None:
    """Own things are called check, hint, case, np and print."""
    desk.give("lab1.modulate", "check = hint = case = 'mine'\nprint = 3" + RIGHTLY,
              before="check = hint = 'mine'\nlist = [1, 2]")


@student()
def fails_after_the_definition(desk: Desk) -> None:
    """The answer's cell tries the function out, and the trial raises."""
    desk.give("lab1.modulate", RIGHTLY + "\nmodulate(torch.ones(3), None, None)")


@student()
def other_defaults(desk: Desk) -> None:
    """An own cell changes numpy's and torch's settings."""
    desk.give("lab1.modulate", RIGHTLY, before=clean("""
        np.seterr(all="raise")
        np.set_printoptions(precision=2)
        torch.set_grad_enabled(True)
        torch.manual_seed(3)
        import matplotlib.pyplot as plt
        plt.plot([1, 2]); plt.show()
    """))


@student()
def letters_of_other_alphabets(desk: Desk) -> None:
    """Greek names, a comment in Chinese, and a line separator of Unicode."""
    desk.give("lab1.modulate", "# 调制\u2028 γ β\ndef modulate(features, γ, β):\n"
                               "    return γ[..., None, None] * features + β")


@student()
def a_name_with_markup(desk: Desk) -> None:
    """Text of a student that is no good in HTML: it must stay text."""
    desk.give("lab1.modulate",
              '"""</script><script>alert("VOS" + "XSS")</script><img src=x onerror=alert(1)>"""' + RIGHTLY)


@student()
def inplace_on_a_copy(desk: Desk) -> None:
    """Works in place, on copies."""
    desk.give("lab1.modulate", """
        def modulate(features, gamma, beta):
            out = features.clone()
            out *= gamma[..., None, None]
            out += beta
            return out
    """)


@student()
def answers_in_numpy(desk: Desk) -> None:
    """Returns an array where a tensor would be usual, or a tensor of double precision."""
    desk.give("lab1.mask_gaussian", desk.right("lab1.mask_gaussian").replace(".float()\n", ".double().numpy()\n")
              .replace("[None, :]).float()", "[None, :]).double().numpy()"))


@student()
def quiz_in_capitals(desk: Desk) -> None:
    """Letters with blanks and in capitals."""
    out = desk.answered
    for cell in out["cells"]:
        if cell["id"].startswith("lab1-q_") and not cell["id"].endswith("-check"):
            cell["source"] = "".join(cell["source"]).replace('"a"', '" A "').replace('"b"', '" B "')
    desk.hand_in(out)
