"""The one exception for bad input. Imports nothing, so that `vos-teach --help` is there at once."""


class VosError(Exception):
    """Bad input, said in one sentence that names the file or value and what to do. The CLI prints only it."""
