"""`python -m dualform`: the console script, which stands above this library and is not imported."""

import runpy

if __name__ == "__main__":
    runpy.run_module("empirical.cli", run_name="__main__")
