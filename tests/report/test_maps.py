"""The picture of an activation: well-formed, self-contained, the same bytes every time."""

import xml.etree.ElementTree as ET

import pytest

from onesigma.numbers.meanfield import curves
from onesigma.report.maps import maps_svg


@pytest.mark.parametrize("f", ["gelu", "relu", "cos", "exp", "hardshrink"])
def test_the_picture_is_well_formed_and_loads_nothing(f: str) -> None:
    text = maps_svg(curves(f))
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in text
    assert "nan" not in text
    assert "inf" not in text
    assert "url(" not in text
    assert text.count("http") == 1


def test_the_same_function_gives_the_same_bytes() -> None:
    sampled = curves("tanh")
    assert maps_svg(sampled) == maps_svg(sampled) == maps_svg(curves("tanh"))


def test_the_picture_says_in_words_what_it_shows() -> None:
    assert "gain 1.533530" in maps_svg(curves("gelu"))
    assert "unit scale is left with depth" in maps_svg(curves("gelu"))
    assert "unit scale is returned to" in maps_svg(curves("tanh"))
    assert "every scale is kept" in maps_svg(curves("relu"))


def test_a_name_cannot_break_out_of_the_markup() -> None:
    def evil(x):
        return x.tanh()

    evil.__name__ = "<script>alert(1)</script>"
    assert "<script" not in maps_svg(curves(evil))
