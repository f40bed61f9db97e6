import json

import pytest

from millstream.models.vocabulary import FILE, Vocabulary
from tests import tiny

KNOWN = Vocabulary(["a pencil sketch", "stained glass", "8 bit game", "watercolour", "on a beach"])


@pytest.mark.parametrize("prompt", ["", "a sketch", "Stained GLASS", "8 bit, game", "a pencil-sketch on a beach!"])
def test_known_words_give_no_hint_however_they_are_written(prompt):
    assert KNOWN.hint(prompt) is None


def test_an_unknown_word_is_named_with_the_nearest_known_ones():
    assert KNOWN.hint("a watercolor beach") == "prompt: this model does not know 'watercolor' (near it: watercolour)"


def test_a_word_like_none_is_named_alone_and_a_long_list_is_cut():
    hint = KNOWN.hint("zzz qqq zzz xyxy vvvv")
    assert hint == "prompt: this model does not know 'zzz'; 'qqq'; 'xyxy'"


def test_only_a_folder_with_a_list_has_a_vocabulary(tmp_path):
    assert Vocabulary.of(tmp_path) is None
    assert Vocabulary.of(tiny.small()) is None
    (tmp_path / FILE).write_text(json.dumps(["one two", "two three"]))
    found = Vocabulary.of(tmp_path)
    assert found is not None
    assert found.words == ["one", "two", "three"]
