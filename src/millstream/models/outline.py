"""What a start needs of a model whose ticks lie in the engine cache: its facts and its prompt networks.

With them a stream starts in a third of the time, for importing the libraries that build the networks takes longer
than all the rest. An outline is one TorchScript archive, traced, with the facts and the tokenizer beside it; prompts
become the same conditioning, to the bit.
"""

import io
import json
import warnings
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from millstream import embedded
from millstream.backends.store import source_hash
from millstream.core.schedule import NoiseSchedule
from millstream.models.text import Conditioner, Tokens, sizes
from millstream.models.vocabulary import Vocabulary
from millstream.params import ModelConfig

LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers", "peft")
READ = {".json", ".txt", ".safetensors"}
FILES = ("facts.json", "schedule.json", "tokens.json", "words.json")


class Outline(NamedTuple):
    """A model without its networks: plain facts by name, noise levels, and what makes conditioning of prompts."""

    facts: Mapping[str, Any]
    schedule: NoiseSchedule
    conditioner: Conditioner


def pack(outline: Outline) -> bytes:
    """Write an outline. Tracing the prompt networks takes less than a second."""
    conditioner, schedule = outline.conditioner, outline.schedule
    levels = [getattr(schedule, name).tolist() for name in ("a", "b", "time")]
    words = conditioner.vocabulary and conditioner.vocabulary.words
    parts = (
        {**outline.facts, "guidance_width": conditioner.guidance_width},
        [*levels, schedule.prediction],
        [[tokens.definition, tokens.length, tokens.pad] for tokens in conditioner.tokens],
        words,
    )
    archive = io.BytesIO()
    files = {name: json.dumps(part) for name, part in zip(FILES, parts, strict=True)}
    torch.jit.save(_traced(conditioner), archive, _extra_files=files)
    return archive.getvalue()


def unpack(archive: bytes, device: torch.device) -> Outline:
    """Read what `pack` wrote. Raises RuntimeError or ValueError where it is none."""
    files = dict.fromkeys(FILES, "")
    networks = torch.jit.load(io.BytesIO(archive), device, _extra_files=files)  # type: ignore[no-untyped-call]
    facts, (*levels, prediction), tokens, words = (json.loads(files[name]) for name in FILES)
    a, b, time = (torch.tensor(level, dtype=torch.float64) for level in levels)
    vocabulary = Vocabulary(words) if words is not None else None
    each = [Tokens(*of_one) for of_one in tokens]
    conditioner = Conditioner(each, networks, device, facts.pop("guidance_width"), vocabulary)
    return Outline(facts, NoiseSchedule(a, b, time, prediction), conditioner)


def cache_key(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> str | None:
    """Hash of all that an outline depends on; None for a model that does not lie in files here.

    Files are told apart by their sizes and times of change: reading gigabytes would take longer than it saves.
    """
    names = [config.name, config.base, config.vae, *(adapter.path for adapter in config.lora)]
    paths = [embedded.path() if name == embedded.NAME else Path(name) for name in names if name]
    if not all(path.exists() for path in paths):
        return None
    facts = (config.model_dump(), str(device), str(dtype), [_listing(path) for path in paths])
    libraries = [version(name) for name in LIBRARIES]
    return blake2b(repr((facts, libraries, source_hash())).encode(), digest_size=16).hexdigest()


def _listing(path: Path) -> list[tuple[str, int, int]]:
    files = sorted(file for file in path.rglob("*") if file.suffix in READ) if path.is_dir() else [path]
    found = [(str(file.resolve()), file.stat()) for file in files]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def _traced(conditioner: Conditioner) -> Any:
    tokens = conditioner.numbers("")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing reads every attribute, those that will be renamed too
        ahead = (*conditioner.networks(tokens), sizes(64, 64).to(conditioner.device))
        examples = {"forward": tokens, "ahead": ahead}
        return torch.jit.trace_module(conditioner.networks, examples, check_trace=False)  # type: ignore[no-untyped-call]
