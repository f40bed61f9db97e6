"""Keeping the libraries quiet while a model loads: what matters in their remarks is checked and raised instead."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Silence diffusers, transformers and their warnings, and put everything back as it was."""
    with _hushed(diffusers.utils.logging), _hushed(transformers.utils.logging), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _hushed(log: Any) -> Iterator[None]:
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
