"""What a network's ranges are measured over."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch

from millstream.backends import calibration
from millstream.backends.calibration import in_flight
from millstream.core.crossframe import neighbours
from millstream.core.graph import Inputs, LaneForm, Latents
from millstream.core.guidance import Mode
from millstream.core.rows import Lane
from millstream.core.tick import admit, tick
from millstream.params import Params, check
from tests.oracle import MODES, Form, Setting, changed, group_of, latents, open_lane, prepare, toy

LEVELS = (700, 520, 330, 150)


def test_the_scenes_are_photographs_of_any_size_each_with_a_prompt_of_its_own() -> None:
    for width, height in ((96, 64), (64, 96), (130, 130)):
        changes, shown = zip(*calibration.scenes(width, height), strict=True)
        assert [each["prompt"] for each in changes] == list(calibration.PROMPTS)
        assert {each["strength"] for each in changes} == set(calibration.STRENGTHS)
        assert all(check(Params, each) for each in changes)
        assert {picture.shape for picture in shown} == {(height, width, 3)}
        assert min(picture.std() for picture in shown) > 10  # not flats
        assert all(not np.array_equal(one, other) for one, other in pairwise(shown))


def gathered(lanes: Sequence[Lane[int]]) -> Inputs:
    return Inputs({0: latents(2), 1: latents(1, seed=1)}, [lane.rows for lane in lanes], neighbours(lanes))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cross_frame", [False, True])
@pytest.mark.parametrize("stages", [(1, 1), (2, 2), (4, 2)])
def test_a_scene_at_every_stage_is_what_a_stream_over_it_comes_to(
    mode: Mode, cross_frame: bool, stages: tuple[int, int]
) -> None:
    """As many ticks of a stream that the same picture enters every time, after frames of another kind."""
    forms = Form(mode), Form("none")
    settings = [Setting(LEVELS[:count]) for count in stages]
    before = [prepare(form, changed(each, prompt=9, seed=8)) for form, each in zip(forms, settings, strict=True)]
    scene = [prepare(form, each) for form, each in zip(forms, settings, strict=True)]

    def lanes() -> list[Lane[int]]:
        opened = [open_lane(f, p, m, cross_frame) for f, p, m in zip(forms, before, (2, 1), strict=True)]
        tick(
            toy, opened, [group_of(before[0], [0, 1], latents(2, seed=5)), group_of(before[1], [0], latents(1, seed=6))]
        )
        return opened

    played, filled = lanes(), lanes()
    groups = [group_of(scene[0], [0, 1], latents(2)), group_of(scene[1], [0], latents(1, seed=1))]
    for _ in range(max(stages) - 1):
        tick(toy, played, groups)
    admit(played, groups)
    for lane, group in zip(filled, groups, strict=True):
        lane.fill(group)
    form = tuple(LaneForm(lane.layout, lane.layout.frames, lane.layout.frames) for lane in filled)
    made = in_flight(Latents(toy), form, gathered(filled))
    for ours, theirs in zip(made.tensors, gathered(played).tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert all(lane.occupied() == [True] * lane.layout.rows for lane in filled)
