"""The console script `dualform`, and `python -m dualform`: the commands, or what they lack."""

import sys

from dualform.extras import missing


def main() -> None:
    """Run the command line; what an extra would bring and is not there is one line, status 2.

    Raises:
        ImportError: when a module fails to load that no extra would bring.
    """
    try:
        from empirical.cli.commands import app

        app()
    except ImportError as error:
        lacking = missing(error)
        if lacking is None:
            raise
        print(f"error: {lacking}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
