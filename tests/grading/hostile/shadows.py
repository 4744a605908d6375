"""Who puts something false where the real thing is looked for: modules, settings, library functions, check cells."""

from __future__ import annotations

from hostile import LAB, WRONG, Desk, clean, student

LOST = {"lab1.modulate": WRONG}
SHAM = "\ndef modulate(features, gamma, beta):\n    return features\n"


@student(LOST)
def shadowing_launcher(desk: Desk) -> None:
    """Beside the notebook lies an ipykernel_launcher.py, which Python would start instead of the real one."""
    desk.hand_in("import sys\nprint('Right')\nsys.exit(0)\n", "ipykernel_launcher.py")
    desk.give("lab1.modulate", SHAM)


@student(LOST)
def shadowing_modules(desk: Desk) -> None:
    """Beside the notebook lie a numpy.py, a torch.py, and a vos_teach whose check always passes."""
    for name in ("numpy.py", "torch.py", "json.py", "IPython.py", "sitecustomize.py", "usercustomize.py"):
        desk.hand_in("raise SystemExit('shadowed')\n", name)
    desk.hand_in("", "vos_teach/__init__.py")
    desk.hand_in("def check(*a, **k): print('Right')\nNotAttempted = CheckFailed = Exception\n"
                 "def hint(*a): pass\n", "vos_teach/lab/__init__.py")
    desk.hand_in("import os\n", "evil.pth")
    desk.hand_in("c.Exec = 'raise SystemExit'\n", ".ipython/profile_default/ipython_config.py")
    desk.give("lab1.modulate", SHAM)


@student(LOST)
def shadowing_course(desk: Desk) -> None:
    """The hand-in brings its own hidden cases and its own nbgrader configuration."""
    desk.hand_in("CASES = {}\n", f"hidden/{LAB}.py")
    desk.hand_in("CASES = {}\n", f"assignments/hidden/{LAB}.py")
    desk.hand_in("c = get_config()\nc.ClearSolutions.code_stub = {'python': 'x'}\n", "nbgrader_config.py")
    desk.give("lab1.modulate", clean("""
        import os
        os.environ["VOS_TEACH_HIDDEN"] = os.path.join(os.getcwd(), "hidden")
        os.environ["PYTHONPATH"] = os.getcwd()
    """) + SHAM)


@student(LOST)
def monkeypatched_library(desk: Desk) -> None:
    """The library's own function is replaced by the wrong answer, so that both agree."""
    desk.give("lab1.modulate", clean("""
        import vos_teach.ops.modulate as M
        from vos_teach.online_learning import osmn as osmn_module
    """) + SHAM + clean("""
        M.modulate.__code__ = modulate.__code__
        M.modulate = osmn_module.modulate = modulate
        torch.nn.functional.binary_cross_entropy_with_logits = lambda *a, **k: torch.zeros(())
    """))


@student(LOST)
def repointed_check(desk: Desk) -> None:
    """The check cell asks for another exercise's function, and claims 300 points."""
    out = desk.answer("lab1.modulate", SHAM)
    for cell in out["cells"]:
        if cell["id"] == "lab1-modulate-check":
            cell["source"] = 'check("lab1.q_slow", "b")  # check("lab1.modulate", modulate)'
            cell["metadata"]["nbgrader"] |= {"points": 300, "grade_id": "lab1-q_slow-check", "checksum": "0"}
    desk.hand_in(out)


@student(LOST)
def points_of_my_own(desk: Desk) -> None:
    """New cells with nbgrader's metadata claim points for nothing."""
    out = desk.answer("lab1.modulate", SHAM)
    for i in range(3):
        out["cells"].append({
            "cell_type": "code", "id": f"gift-{i}", "outputs": [], "execution_count": None, "source": "1 + 1",
            "metadata": {"nbgrader": {"grade": True, "solution": False, "locked": True, "points": 100, "task": False,
                                      "grade_id": f"lab1-gift-{i}-check", "schema_version": 3}}})
    desk.hand_in(out)
