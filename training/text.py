"""`python -m training.text`: the text encoder, taught by itself what captions mean, before the denoiser sees it.

Trained along with the denoiser it forgets (few styles ask for more than many objects, and objects became the same
numbers); left as it is drawn, the word that counts is one part in twenty of what the denoiser is given. So it learns
first and apart from pictures, to name style, object and place of a caption at each token that has heard all of it: the
end mark, and the padding behind it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.random import Generator, default_rng
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from training import captions, loop, pack, scenes, shapes, styles, tokenizer
from training.crops import pick

CHECKPOINT = pack.WORK / "text.pt"
PLAN = loop.Plan(steps=2500, rate=1e-3, average=0.99, save_every=250)
SEED = 4
BATCH = 192
SHARE = 0.5  # of the captions that ask for a style; the others ask for a scene
LOST, SHUFFLED, FILLED = 0.06, 0.15, 0.3  # shares of words left out, captions out of order, captions with words added
NAMES = (  # what each head tells apart; the last of each is that nothing is asked
    (*styles.STYLES, None),
    (*scenes.OBJECTS, None),
    (*scenes.PLACES, None),
)


@dataclass(frozen=True)
class Caption:
    """A text and what it asks for: indices in NAMES of style, object and place."""

    text: str
    meaning: tuple[int, ...]


class Reader(nn.Module):
    """The text encoder, and on top of it a line per head that names what a caption asks for."""

    def __init__(self, words: CLIPTokenizer) -> None:
        super().__init__()
        self.words = words
        self.text: CLIPTextModel = shapes.text_encoder(len(words), words.bos_token_id, words.eos_token_id)
        self.heads = nn.ModuleList(nn.Linear(shapes.TEXT_WIDTH, len(names)) for names in NAMES)

    def forward(self, texts: list[str]) -> tuple[list[Float[Tensor, "b words names"]], Bool[Tensor, "b words"]]:
        """Each head's scores at every token, and which tokens have heard the whole caption."""
        tokens: Int[Tensor, "b words"] = encode(self.words, texts)
        states = self.text(tokens.to(loop.DEVICE)).last_hidden_state
        return [head(states) for head in self.heads], tokens.to(loop.DEVICE) == self.words.eos_token_id


def encode(words: CLIPTokenizer, texts: list[str]) -> Int[Tensor, "b words"]:
    """The texts as tokens, padded and cut."""
    return torch.as_tensor(words(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids)


def meaning(style: str | None = None, obj: str | None = None, place: str | None = None) -> tuple[int, ...]:
    """Indices in NAMES."""
    return tuple(names.index(name) for names, name in zip(NAMES, (style, obj, place), strict=True))


def sample(rng: Generator) -> Caption:
    """A caption as the denoiser is given it, its words now and then lost, moved or joined by others."""
    if rng.random() < SHARE:
        style = pick(NAMES[0], rng)
        return Caption(disturbed(captions.caption(style, rng), rng), meaning(style))
    obj, place = pick(NAMES[1], rng), pick(NAMES[2], rng)
    if obj is None and place is None:
        return Caption(disturbed(captions.caption(None, rng), rng), meaning())
    return Caption(disturbed(scenes.caption(obj, place, rng), rng), meaning(None, obj, place))


def disturbed(text: str, rng: Generator) -> str:
    """The text, so that what it means hangs on its words and little on how they are put."""
    words = [word for word in text.split() if rng.random() > LOST] or text.split()
    if rng.random() < FILLED:
        words.insert(int(rng.integers(len(words) + 1)), captions.subject(rng))
    if rng.random() < SHUFFLED:
        words = [words[index] for index in rng.permutation(len(words))]
    return " ".join(words)


class Loss:
    """The loss of one step; its captions depend on (SEED, step) alone."""

    def __init__(self, model: Reader) -> None:
        self.model = model

    def __call__(self, step: int) -> Tensor:
        """Cross-entropy of every head at the tokens that have heard all, each caption counting once."""
        rng = default_rng([SEED, step])
        drawn = [sample(rng) for _ in range(BATCH)]
        scores, heard = self.model([caption.text for caption in drawn])
        labels = torch.tensor([caption.meaning for caption in drawn], device=loop.DEVICE)
        weights = heard / heard.sum(dim=1, keepdim=True)
        losses = (self._entropy(each, labels[:, head]) for head, each in enumerate(scores))
        return torch.stack([(loss * weights).sum(dim=1).mean() for loss in losses]).sum()

    def _entropy(self, scores: Float[Tensor, "b words names"], label: Int[Tensor, "b"]) -> Float[Tensor, "b words"]:
        repeated = label[:, None].expand(scores.shape[:2])
        return nn.functional.cross_entropy(scores.transpose(1, 2), repeated, reduction="none", label_smoothing=0.02)


def named(model: Reader, asked: Iterable[Caption]) -> list[float]:
    """Per head, the share of captions whose meaning is named right at the last token."""
    asked = list(asked)
    with torch.no_grad():
        scores, _ = model([caption.text for caption in asked])
    found = np.stack([each[:, -1].argmax(dim=1).cpu().numpy() for each in scores], axis=1)
    return [float(share) for share in (found == np.array([caption.meaning for caption in asked])).mean(axis=0)]


def unheard(count: int = 500) -> list[Caption]:
    """Captions that training never uses: phrases kept back of every style, templates kept back of scenes."""
    rng = default_rng([SEED, 1])
    made = [Caption(phrase, meaning(style)) for style, phrases in captions.HELD_OUT.items() for phrase in phrases]
    for _ in range(count):
        obj, place = pick(tuple(scenes.OBJECTS), rng), pick(tuple(scenes.PLACES), rng)
        made.append(Caption(scenes.unheard(obj, place, rng), meaning(None, obj, place)))
    return made


def trained() -> Reader:
    """The reader with its averaged weights, frozen."""
    model = Reader(tokenizer.build())
    model.load_state_dict(loop.averaged_weights(CHECKPOINT))
    return model.to(loop.DEVICE).eval().requires_grad_(False)


def main() -> None:
    """Train to the end of the plan, then say how it reads what it never heard."""
    torch.manual_seed(SEED)
    model = Reader(tokenizer.build())
    loop.Trainer(model, PLAN, CHECKPOINT).fit(Loss(model))
    made = trained()
    for title, asked in (("styles", unheard(0)), ("scenes", unheard()[len(unheard(0)) :])):
        print(f"unheard {title}: style {{:.3f}} object {{:.3f}} place {{:.3f}}".format(*named(made, asked)))


if __name__ == "__main__":
    main()
