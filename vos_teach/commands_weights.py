"""`vos-teach weights ...`: other people's weights in our networks, and ours in less room. Thin, as cli.py is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vos_teach.errors import VosError

weights_app = typer.Typer(no_args_is_help=True, help="Files of weights: others' in our networks, ours in less room.")

FETCH = {  # system -> where its authors' file is to be had; nothing here fetches it
    "stm": "https://github.com/seoungwugoh/STM, its README's 'Download weights': STM_weights.pth; for non-commercial "
           "use only (CC BY-NC-SA 4.0)",
    "stcn": "https://github.com/hkchengrex/STCN, its README's 'Pretrained models': the s012 or the s03 model",
}
MANY = 12  # lines of a kind are printed


@weights_app.callback()
def _root() -> None:
    """Files of weights: others' in our networks, ours in less room."""


@weights_app.command("import")
def import_(
    system: Annotated[str, typer.Argument(help="stm or stcn")],
    file: Annotated[Path, typer.Argument(help="the file that the authors released (torch.save)")],
    out: Annotated[Path | None, typer.Option(help="default: FILE with the suffix .safetensors")] = None,
    every: Annotated[bool, typer.Option("--all", help=f"print every tensor, not the first {MANY} of a kind")] = False,
) -> None:
    """The authors' weights of STM or STCN -> a file for `--scale paper --weights`, with a report of what does not fit.

    The file is fetched by you, from the authors: an unknown FILE says where. Ends with status 2 where the network would
    not be whole, and where tensors of the file have no place in ours.
    """
    where = FETCH.get(system)
    if where is not None and not file.is_file():
        raise VosError(f"'{file}' is no file: fetch the authors' weights of '{system}' first, from {where}")
    out = file.with_suffix(".safetensors") if out is None else out
    if out.exists() and file.exists() and out.samefile(file):
        raise VosError(f"'{out}' is the authors' own file: choose another --out")
    from vos_teach.transformers.released import import_released

    report = import_released(system, file, out)
    print(shortened(str(report), None if every else MANY))
    lacks, misfits, more = len(report.missing), len(report.misfits), len(report.unused)
    if not report.complete:
        raise VosError(f"{lacks} tensors of '{system}' are missing in '{file}' and {misfits} do not fit: nothing was "
                       f"written; the file should come from {where}")
    if more:
        raise VosError(f"'{out}' was written and every tensor of '{system}' is filled, but {more} tensors of '{file}' "
                       "have no place in it: it is not all of the authors' network, so do not expect their figures")
    print(f"use it: vos-teach bench {system} --scale paper --weights {out}")


@weights_app.command()
def pack(
    file: Annotated[Path, typer.Argument(help="weights that training wrote (.safetensors)")],
    out: Annotated[Path, typer.Option(help="the packed file: as those that ship")],
) -> None:
    """The same weights in about three quarters of their room, to ship them: what is read from either file is equal."""
    from vos_teach import weights

    weights.pack(file, out)
    print(f"written: {out}, {out.stat().st_size / 1e6:.1f} MB of {file.stat().st_size / 1e6:.1f}")


def shortened(report: str, most: int | None) -> str:
    """A report with at most so many lines of a kind; None: all. A kind is what stands before the first colon."""
    if most is None:
        return report
    lines, counts = [], dict[str, int]()
    for line in report.splitlines():
        kind = line.partition(":")[0].strip() if line.startswith("  ") and ":" in line else ""
        if kind:
            counts[kind] = counts.get(kind, 0) + 1
        if not kind or counts[kind] <= most:
            lines.append(line)
        elif counts[kind] == most + 1:
            total = sum(other.strip().startswith(f"{kind}:") for other in report.splitlines())
            lines.append(f"  {kind}: ... {total - most} more, --all names them")
    return "\n".join(lines)
