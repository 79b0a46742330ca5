"""Settings of the whole suite: one thread a process, an empty cache of its own, repeatable property tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before torch or numpy load

if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers inherit the folder
    cache = tempfile.mkdtemp(prefix="seerc-test-cache-")
    os.environ["XDG_CACHE_HOME"] = cache
    atexit.register(shutil.rmtree, cache, ignore_errors=True)

settings.register_profile("seerc", deadline=None, derandomize=True)
settings.load_profile("seerc")
