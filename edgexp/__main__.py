"""The program's entry: `edgexp` and `python -m edgexp`. Signals are taken before anything slow is imported."""

from edgexp import signals


def main() -> None:
    """Take the signals, then import the command line and run it."""
    signals.install()
    from edgexp.cli import main as run

    run()


if __name__ == "__main__":
    main()
