"""A CLIP tokenizer of our own: byte-level BPE whose merges are learnt until every word of the captions is one token."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training import captions, shapes

START, END = "<|startoftext|>", "<|endoftext|>"


def learn(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in CLIP's order: bytes, bytes that end a word, merges, the two marks."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(vocab_size=100_000, end_of_word_suffix="</w>"))
    merges = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(left + right for left, right in merges), START, END]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def build() -> CLIPTokenizer:
    """The tokenizer of the captions; prompts are padded and cut to shapes.WORDS tokens."""
    vocabulary, merges = learn(captions.words())
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=shapes.WORDS, pad_token=END)


def save(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write CLIP's own files: vocab.json, merges.txt and the configuration."""
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    tokenizer.backend_tokenizer.model.save(str(folder))
