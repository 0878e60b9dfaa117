"""The tests, and how many threads they compute with.

`DUALFORM_TEST_THREADS` says how many, one where it says nothing: two workers on two cores would
only contend. The libraries read their own variables when they are loaded, which is after this.
"""

import os

THREADS = int(os.environ.get("DUALFORM_TEST_THREADS", "1"))

for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", str(THREADS))
