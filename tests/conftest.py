"""Tests run eager, which is exact and starts at once; those of the back ends name theirs. None sees a user's cache."""

import os
from tempfile import TemporaryDirectory

_cache = TemporaryDirectory(prefix="millstream-cache-", ignore_cleanup_errors=True)
os.environ["MILLSTREAM_BACKEND"] = "eager"
os.environ["MILLSTREAM_CACHE"] = _cache.name
