"""Legends: what is accepted, what is refused, and the way to JSON and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import LegendError
from geoseg.legend import ClassDef, Legend


@pytest.mark.parametrize("class_id", [0, 255, -1, 256, 1.0, "1", True])
def test_class_ids_outside_1_to_254_are_refused(class_id: object) -> None:
    with pytest.raises(LegendError, match=r"1\.\.254"):
        ClassDef(class_id, "water", "#000000")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00b"])
def test_names_must_print(name: str) -> None:
    with pytest.raises(LegendError, match="printable"):
        ClassDef(1, name, "#000000")


@pytest.mark.parametrize("color", ["red", "#fff", "#12345g", "123456"])
def test_colours_are_hex(color: str) -> None:
    with pytest.raises(LegendError, match="#rrggbb"):
        ClassDef(1, "water", color)


def test_colour_is_stored_in_lower_case() -> None:
    assert ClassDef(1, "water", "#41 9BDF".replace(" ", "")).color == "#419bdf"
    assert ClassDef(1, "water", "#419BDF").rgb == (0x41, 0x9B, 0xDF)


def test_ids_and_names_are_unique() -> None:
    with pytest.raises(LegendError, match="class ids must be unique"):
        Legend((ClassDef(1, "a", "#000000"), ClassDef(1, "b", "#000001")))
    with pytest.raises(LegendError, match="class names must be unique"):
        Legend.from_names(["a", "a"])


def test_more_than_254_classes_are_refused_with_the_number() -> None:
    assert len(Legend.from_names([f"c{i}" for i in range(254)])) == 254
    with pytest.raises(LegendError, match="255"):
        Legend.from_names([f"c{i}" for i in range(255)])
    with pytest.raises(LegendError, match="not 0"):
        Legend(())


@given(st.integers(1, 254))
def test_default_colours_never_repeat(count: int) -> None:
    colors = [c.color for c in Legend.from_names([f"c{i}" for i in range(count)])]
    assert len(set(colors)) == count


@given(st.lists(st.integers(1, 254), min_size=1, max_size=20, unique=True))
def test_records_round_trip(ids: list[int]) -> None:
    legend = Legend.from_values(ids)
    assert Legend.from_records(legend.to_records()) == legend
    assert legend.ids == tuple(sorted(ids))
    assert legend.name_of(ids[0]) == f"class {ids[0]}"


@pytest.mark.parametrize("records", [[{"id": 1}], [3], [{"id": 1, "name": 2, "color": "#000000"}], 7])
def test_malformed_records_are_one_error(records: object) -> None:
    with pytest.raises(LegendError):
        Legend.from_records(records)  # type: ignore[arg-type]


def test_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(LegendError, match=r"9 is not in the legend \(1, 2\)"):
        Legend.from_names(["a", "b"]).name_of(9)
