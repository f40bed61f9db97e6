"""A CLIP tokenizer of our own: byte-level BPE whose merges are learnt until every word of the captions is one token.

`python -m training.tokenizer` learns it anew, into `training/vocabulary`. It is kept there, because the learner breaks
ties as its hash tables fall: a vocabulary learnt in another process numbers some words otherwise than the networks
learnt them. New captions need it learnt anew, and the text encoder with it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training import captions, scenes, shapes

START, END = "<|startoftext|>", "<|endoftext|>"
FOLDER = Path(__file__).parent / "vocabulary"


def learn(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in CLIP's order: bytes, bytes that end a word, merges, the two marks."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(vocab_size=100_000, end_of_word_suffix="</w>"))
    merges = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(left + right for left, right in merges), START, END]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def make(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> CLIPTokenizer:
    """The tokenizer of a vocabulary; prompts are padded and cut to shapes.WORDS tokens."""
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=shapes.WORDS, pad_token=END)


def build() -> CLIPTokenizer:
    """The tokenizer that is kept."""
    _, *lines = (FOLDER / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    return make(json.loads((FOLDER / "vocab.json").read_text(encoding="utf-8")), merges)


def save(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write CLIP's own files: vocab.json, merges.txt and the configuration."""
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    tokenizer.backend_tokenizer.model.save(str(folder))


def main() -> None:
    """Learn the vocabulary of the captions, and keep it."""
    FOLDER.mkdir(exist_ok=True)
    make(*learn([*captions.words(), *scenes.words()])).backend_tokenizer.model.save(str(FOLDER))


if __name__ == "__main__":
    main()
