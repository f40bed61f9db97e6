from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from millstream.core.crossframe import NEIGHBOUR_BIAS, NEIGHBOURS
from millstream.core.rows import Conditioning
from millstream.errors import ModelError
from millstream.models import Model, load_model
from millstream.models.attention import fuse_projections
from millstream.models.denoiser import UNetDenoiser
from millstream.models.prompts import added_of
from millstream.params import ModelConfig, WeightedPrompt
from tests import tiny

MODELS = [tiny.sd1, tiny.sd_turbo, tiny.lcm, tiny.small]
SHAPES = [(1, 4, 4), (2, 8, 4), (5, 6, 10), (3, 16, 16), (7, 2, 2)]


def load(folder: Path, **config: str) -> Model:
    return load_model(ModelConfig(name=str(folder), device="cpu", **config))


def plain(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder / "unet").eval().requires_grad_(False)


def prompts(model: Model, rows: int) -> Conditioning:
    """Every row under its own prompt and guidance scale."""
    each = [model.condition((WeightedPrompt(text=f"number {row}"),), 1.0 + row) for row in range(rows)]
    return {name: torch.cat([cond[name] for cond in each]) for name in each[0]}


def noisy(model: Model, rows: int, h: int = 4, w: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, model.channels, h, w, generator=generator)
    return x, torch.randint(0, 1000, (rows,), generator=generator).float()


def circles(*streams: tuple[int, int], bubbles: tuple[int, ...] = ()) -> Conditioning:
    """Neighbours of streams given as (first row, rows); bubbles attend to themselves and nobody to them."""
    members = [[r for r in range(first, first + count) if r not in bubbles] for first, count in streams]
    rows = range(max(first + count for first, count in streams))
    lists = [next((m for m in members if row in m), [row]) for row in rows]
    width = max(map(len, lists))
    stranger = [next((other for other in rows if other not in m), 0) for m in lists]
    index = [m + [stranger[row]] * (width - len(m)) for row, m in enumerate(lists)]  # padding points at strangers
    bias = [[0.0] * len(m) + [float("-inf")] * (width - len(m)) for m in lists]
    return {NEIGHBOURS: torch.tensor(index), NEIGHBOUR_BIAS: torch.tensor(bias)}


class Concatenating:
    """Self-attention over all rows of a stream, stream by stream, written out: the definition."""

    def __init__(self, streams: list[list[int]]) -> None:
        self.streams = streams

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        out = torch.empty_like(hidden_states)
        for rows in self.streams:
            context = hidden_states[rows].flatten(0, 1)
            for row in rows:
                out[row] = self.attend(attn, hidden_states[row], context)
        return attn.to_out[0](out)

    def attend(self, attn, tokens: Tensor, context: Tensor) -> Tensor:
        q, k, v = attn.to_q(tokens), attn.to_k(context), attn.to_v(context)
        heads = zip(*(each.chunk(attn.heads, dim=1) for each in (q, k, v)), strict=True)
        return torch.cat([(a @ b.T / b.shape[1] ** 0.5).softmax(1) @ c for a, b, c in heads], dim=1)


def concatenating(unet: UNet2DConditionModel, streams: list[list[int]]) -> UNet2DConditionModel:
    for name in unet.attn_processors:
        if "attn1" in name:
            unet.get_submodule(name.removesuffix(".processor")).set_processor(Concatenating(streams))
    return unet


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_denoise_equals_the_plain_unet(make, shape) -> None:
    model, unet = load(make()), plain(make())
    x, t = noisy(model, *shape)
    cond = prompts(model, len(x))
    expected = unet(x, t, cond["prompt"], timestep_cond=cond.get("timestep_cond")).sample
    torch.testing.assert_close(model.denoise(x, t, cond), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", MODELS)
def test_fused_projections_give_the_same_of_fewer_products(make) -> None:
    model, unet = load(make()), plain(make())
    fuse_projections(unet)
    fused = UNetDenoiser(unet).eval()
    x, t = noisy(model, 2)
    for cond in (prompts(model, 2), prompts(model, 2) | circles((0, 2))):
        with torch.no_grad():
            torch.testing.assert_close(fused(x, t, cond), model.denoise(x, t, cond), atol=1e-5, rtol=0)
    weights = [sum(p.numel() for p in network.parameters()) for network in (fused, model.denoiser)]
    assert weights[0] == weights[1]


def test_double_precision_rows_are_cast() -> None:
    model = load(tiny.sd1())
    x, t = noisy(model, 2)
    cond = prompts(model, 2)
    assert torch.equal(model.denoise(x.double(), t.double(), cond), model.denoise(x, t, cond))


@pytest.mark.parametrize("make", MODELS)
def test_cached_keys_are_bit_equal_to_computed_ones(make) -> None:
    model = load(make())
    x, t = noisy(model, 1)
    cond = prompts(model, 1)
    bare = {name: value for name, value in cond.items() if not name.startswith(("keys", "values"))}
    assert len(cond) - len(bare) == 8  # four layers over the prompt
    assert torch.equal(model.denoise(x, t, cond), model.denoise(x, t, bare))


@pytest.mark.parametrize("name", ["keys.0", "values.0", "keys.3", "values.3"])
def test_cached_keys_are_used(name: str) -> None:
    model = load(tiny.sd1())
    x, t = noisy(model, 1)
    cond = prompts(model, 1)
    other = cond | {name: cond[name].flip(2) * 5}
    assert not torch.allclose(model.denoise(x, t, cond), model.denoise(x, t, other))


@pytest.mark.parametrize("make", MODELS)
def test_cross_frame_with_one_row_is_plain(make) -> None:
    model = load(make())
    x, t = noisy(model, 1)
    cond = prompts(model, 1)
    torch.testing.assert_close(
        model.denoise(x, t, cond | circles((0, 1))), model.denoise(x, t, cond), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("make", MODELS)
def test_cross_frame_with_equal_rows_is_plain(make) -> None:
    model = load(make())
    x, t = noisy(model, 1)
    cond = {name: torch.cat([value] * 4) for name, value in prompts(model, 1).items()}
    x, t = torch.cat([x] * 4), torch.cat([t] * 4)
    torch.testing.assert_close(
        model.denoise(x, t, cond | circles((0, 4))), model.denoise(x, t, cond), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("streams", [[(0, 5)], [(0, 2), (2, 3)], [(0, 1), (1, 3), (4, 1)]])
def test_cross_frame_is_attention_over_the_concatenated_stream(make, streams) -> None:
    model = load(make())
    x, t = noisy(model, 5, 4, 6)
    cond = prompts(model, 5)
    unet = concatenating(plain(make()), [list(range(first, first + count)) for first, count in streams])
    expected = unet(x, t, cond["prompt"], timestep_cond=cond.get("timestep_cond")).sample
    torch.testing.assert_close(model.denoise(x, t, cond | circles(*streams)), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(expected, model.denoise(x, t, cond), atol=1e-3)


def test_cross_frame_in_half_precision() -> None:
    full, half = load(tiny.sd1()), load(tiny.sd1(), dtype="bfloat16")
    x, t = noisy(full, 3)
    neighbours = circles((0, 2), (2, 1))
    ours = half.denoise(x, t, prompts(half, 3) | neighbours)
    assert ours.dtype == torch.bfloat16
    theirs = full.denoise(x, t, prompts(full, 3) | neighbours)
    torch.testing.assert_close(ours.float(), theirs, atol=0.1, rtol=0)


def test_rows_of_other_streams_never_contribute() -> None:
    model = load(tiny.sd1())
    x, t = noisy(model, 5)
    cond = prompts(model, 5) | circles((0, 2), (2, 3))
    other = torch.cat([x[:2], x[2:] * 3 + 1])
    ours, theirs = model.denoise(x, t, cond), model.denoise(other, t, cond)
    assert torch.equal(ours[:2], theirs[:2])
    assert not torch.allclose(ours[2:], theirs[2:])


def test_bubbles_never_contribute() -> None:
    model = load(tiny.sd1())
    x, t = noisy(model, 4)
    cond = prompts(model, 4) | circles((0, 4), bubbles=(1, 3))
    other = x.clone()
    other[[1, 3]] = 100.0
    kept = [0, 2]
    assert torch.equal(model.denoise(x, t, cond)[kept], model.denoise(other, t, cond)[kept])


@pytest.mark.parametrize("cross_frame", [False, True])
def test_the_graph_can_be_exported(cross_frame: bool) -> None:
    model = load(tiny.sd1())
    x, t = noisy(model, 3)
    cond = prompts(model, 3) | (circles((0, 3)) if cross_frame else {})
    program = torch.export.export(model.denoiser, (x, t, cond))
    x, t = x.flip(0) * 0.5, t.flip(0)
    if cross_frame:
        alone = torch.tensor([[0.0, 0.0, float("-inf")]] * 3)
        cond = cond | {NEIGHBOURS: cond[NEIGHBOURS].flip(1), NEIGHBOUR_BIAS: alone}
    torch.testing.assert_close(program.module()(x, t, cond), model.denoise(x, t, cond), atol=1e-5, rtol=0)


def test_the_graph_compiles_whole() -> None:
    model = load(tiny.lcm())
    x, t = noisy(model, 3)
    cond = prompts(model, 3) | circles((0, 3))
    compiled = torch.compile(model.denoiser, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, t, cond), model.denoise(x, t, cond), atol=1e-5, rtol=0)


def test_attention_of_another_form_is_refused() -> None:
    unet = tiny.unet(down_block_types=("AttnDownBlock2D", "DownBlock2D"))
    with pytest.raises(ModelError, match="unknown form"):
        UNetDenoiser(unet)


@pytest.mark.parametrize("config", [{"class_embed_type": "timestep"}, {"addition_embed_type": "text_image"}])
def test_inputs_other_than_a_prompt_are_refused(config) -> None:
    unet = tiny.unet(**config, projection_class_embeddings_input_dim=32)
    with pytest.raises(ModelError, match=next(iter(config))):
        UNetDenoiser(unet)


def test_a_text_embedding_added_to_the_time_is_computed_ahead() -> None:
    unet = tiny.unet(addition_embed_type="text", addition_embed_type_num_heads=4).requires_grad_(False)
    x, t, prompt = torch.randn(2, 4, 4, 4), torch.tensor([9.0, 500.0]), torch.randn(2, 24, 32)
    expected = unet(x, t, prompt).sample
    cond = {"prompt": prompt, "added": added_of(unet)(prompt, torch.zeros(2, 0), torch.zeros(1, 6))}
    torch.testing.assert_close(UNetDenoiser(unet)(x, t, cond), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (48, 16)])
def test_what_is_pooled_and_the_sizes_are_added_as_in_diffusers(size) -> None:
    unet, model = tiny.unet(**tiny.SDXL).requires_grad_(False), load(tiny.sdxl_turbo())
    x, t = torch.randn(2, 4, 4, 4), torch.tensor([9.0, 500.0])
    each = [model.condition((WeightedPrompt(text=text),), 1.0, size) for text in ("a red boat", "a cat")]
    cond = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    pooled = torch.cat([model.conditioner.blend((WeightedPrompt(text=text),))[1] for text in ("a red boat", "a cat")])
    time_ids = torch.tensor([[size[1], size[0], 0, 0, size[1], size[0]]] * 2)
    expected = unet(x, t, cond["prompt"], added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids}).sample
    torch.testing.assert_close(model.denoise(x, t, cond), expected, atol=1e-5, rtol=0)
