"""The `vos-teach` command. Thin: each command parses its options and calls the library."""

from __future__ import annotations

import sys

import typer

from vos_teach.clip import VosError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Video object segmentation, from OSVOS to transformers.",
)


def main() -> None:
    """Run the command; bad input ends in one sentence on stderr and exit status 2, never in a traceback."""
    try:
        app(standalone_mode=True)
    except VosError as error:
        print(f"vos-teach: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        print(f"vos-teach: {error.strerror or error}{where}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("vos-teach: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
