"""The words a small model was trained on, and a hint where a prompt has others."""

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

FILE = "vocabulary.json"
UNKNOWN, NEAR = 3, 3  # unknown words named in a hint, and suggestions for each
SHORTEST = 4  # letters of a suggestion: shorter words resemble everything


class Vocabulary:
    """Phrases that a model knows, as its folder lists them: a JSON list of strings. A big model has no such list."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self.words = list(dict.fromkeys(word for phrase in phrases for word in _words(phrase)))

    @classmethod
    def of(cls, folder: Path) -> "Vocabulary | None":
        """Read the list of the model in `folder`, or give None where it has none."""
        path = folder / FILE
        return cls(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def hint(self, prompt: str) -> str | None:
        """Say which words of `prompt` mean nothing to the model, and which known ones are spelt most like them."""
        unknown = [word for word in dict.fromkeys(_words(prompt)) if word not in self.words]
        if not unknown:
            return None
        return "prompt: this model does not know " + "; ".join(self._advice(word) for word in unknown[:UNKNOWN])

    def _advice(self, word: str) -> str:
        near = get_close_matches(word, [known for known in self.words if len(known) >= SHORTEST], NEAR)
        return f"{word!r} (near it: {', '.join(near)})" if near else f"{word!r}"


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
