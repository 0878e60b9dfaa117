"""The console script `dualform`, and `python -m dualform`: the commands, or what they lack."""

import sys

from dualform.extras import missing


def main() -> None:
    """Run the command line of the study.

    Raises:
        SystemExit: with the status of the command; 2 where the extra `study` is not installed.
        ImportError: when a module fails to load that no extra would bring.
    """
    try:
        from empirical.cli import app
    except ImportError as error:
        lacking = missing(error)
        if lacking is None:
            raise
        print(f"error: {lacking}", file=sys.stderr)
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
