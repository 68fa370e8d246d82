"""The program's entry: `edgexp` and `python -m edgexp`. Signals are taken before anything slow is imported."""

import atexit
import os

from edgexp import signals


def main() -> None:
    """Take the signals, run the command line, and end the process. What is registered with `atexit` is called."""
    signals.install()
    from edgexp.cli import main as run

    try:
        run()
    except SystemExit as leaving:
        atexit._run_exitfuncs()
        # Python would give the signals back before it takes itself to pieces, and Ctrl-C would then be a death without a word.
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)


if __name__ == "__main__":
    main()
