"""The settings of a training: read, overridden, refused with the reason, written down and read back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from geoseg.config.loading import dump_config, find_config, load_config, recipe_names
from geoseg.config.setting_names import SYNONYMS, meanings, section_names
from geoseg.config.setting_names import settings as all_settings
from geoseg.config.training import DataConfig, TrainingConfig
from geoseg.config.yaml_text import format_value, parse_value
from geoseg.errors import MissingFileError, ParameterError

TEXT = st.text(min_size=1, max_size=12)
TRICKY = st.sampled_from(
    ["3e-4", "1E5", "null", "~", "yes", "on", "0x1f", "012", "1_000", "2026-01-01", "1:30", "", " a ", "#no", "a: b",
     "- a", "[", "{x}", "*a", "&a", "!t", "%", "@", "`", "'", '"', "\\", "a\nb", "\t", "\x85", " ", "é", "…", "---"]
)  # fmt: skip
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TRICKY, inner, max_size=3),
    max_leaves=6,
)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True),
        "purpose": TEXT | TRICKY,
        "license": st.none() | TEXT | TRICKY,
        "data": st.fixed_dictionaries(
            {"images": st.lists(TEXT | TRICKY, min_size=1, max_size=3), "labels": TEXT | TRICKY},
            optional={
                "class_field": TEXT | TRICKY,
                "legend": TEXT.map(Path) | st.dictionaries(st.integers(), TEXT | TRICKY),
                "label_values": st.none() | st.dictionaries(st.integers(), TEXT | TRICKY),
                "bands": st.none() | st.lists(st.integers(1, 300)),
                "aoi": st.none() | TEXT.map(Path),
            },
        ),
        "model.options": st.dictionaries(TEXT | TRICKY, JSON, max_size=3),
        "loss": st.fixed_dictionaries(
            {
                "expression": st.just("weighted_ce"),
                "class_weights": st.just("median-frequency") | st.dictionaries(TEXT | TRICKY, POSITIVE),
            }
        ),
        "optimizer.lr": st.none() | POSITIVE,
        "schedule.power": POSITIVE,
        "augmentation.zoom": st.floats(0, 3),
        "augmentation.flip": st.booleans(),
        "trainer.epochs": st.integers(1, 10**9),
        "trainer.deterministic": st.none() | st.booleans(),
        "trainer.monitor": st.sampled_from(["mean_iou", "kappa"]),
    },
)


@settings(max_examples=60, deadline=None)
@given(overrides=OVERRIDES, changed_only=st.booleans())
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, overrides: dict[str, Any], changed_only: bool
) -> None:
    config = load_config(overrides=overrides)
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(dump_config(config, changed_only=changed_only), encoding="utf-8")
    assert load_config(path) == config


@given(JSON)
def test_values_in_one_line_are_read_back(value: Any) -> None:
    text = format_value(value)
    assert "\n" not in text
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == TrainingConfig()
    assert load_config(None, []) == TrainingConfig()


@pytest.mark.parametrize(
    ("text", "value"), [("3e-4", 3e-4), ("1E5", 1e5), (".5e1", 5.0), ("2.e0", 2.0), ("0.001", 0.001), ("1", 1.0)]
)
def test_numbers_as_people_write_them(text: str, value: float, tmp_path: Path) -> None:
    assert load_config(None, [f"optimizer.lr={text}"]).optimizer.lr == value
    path = tmp_path / "a.yaml"
    path.write_text(f"optimizer: {{lr: {text}}}\nschedule:\n  power: {text}\n")
    assert load_config(path).optimizer.lr == load_config(path).schedule.power == value


def test_overrides_win_over_the_file_and_later_ones_over_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model:\n  options: {encoder: resnet18, depth: 4}\ntrainer: {epochs: 3, clip: 0.5}\nlogging:\n")
    config = load_config(
        path,
        [
            "trainer.epochs=5",
            "trainer.epochs=7",
            "model.options.encoder=resnet34",
            " purpose = a map, of a kind",
            "data.aoi=",
        ],
    )
    assert config.trainer.epochs == 7
    assert config.trainer.clip == 0.5
    assert config.model.options == {"encoder": "resnet34", "depth": 4}
    assert config.purpose == "a map, of a kind"
    assert config.data.aoi is None
    assert config.logging == TrainingConfig().logging


def test_overrides_as_values_are_left_as_they_were() -> None:
    options = {"encoder": "resnet18"}
    given_values = {"model.options": options, "model.options.depth": 4, "chips": {"size": 64}}
    config = load_config(None, given_values)
    assert config.model.options == {"encoder": "resnet18", "depth": 4}
    assert config.chips.size == 64
    assert options == {"encoder": "resnet18"}


def test_keys_of_legends_are_numbers() -> None:
    data = load_config(None, ["data.legend={1: water}", "data.legend.2=forest", "data.label_values.255=ignore"]).data
    assert data.legend == {1: "water", 2: "forest"}
    assert data.label_values == {255: "ignore"}


def test_one_text_is_a_list_of_one() -> None:
    data = load_config(None, ["data.images=photos", "data.labels=land.gpkg", "data.bands=3"]).data
    assert data.images == ("photos",)
    assert data.labels == ("land.gpkg",)
    assert data.bands == (3,)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optimizer.learning_rate", "optimizer.lr"),
        ("optimizer.Lr", "optimizer.lr"),
        ("learning_rate", "optimizer.lr"),
        ("trainer.epoch", "trainer.epochs"),
        ("epochs", "trainer.epochs"),
        ("augmentation.band-dropout", "augmentation.band_dropout"),
        ("chips.batch_size", "chips.batch"),
        ("model.encoder", "model.options.encoder"),
        ("trainer.lr", "optimizer.lr"),
        ("optimiser", "optimizer"),
        ("split.validatoin", "split.validation"),
    ],
)
def test_unknown_keys_name_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ParameterError) as caught:
        load_config(None, [f"{name}=1"])
    assert str(caught.value) == f"--set: {name} is no setting, did you mean {meant}?"


def test_unknown_keys_without_a_near_one_list_what_there_is() -> None:
    with pytest.raises(ParameterError, match=r"split.zzz is no setting; those of split are by, validation, block,"):
        load_config(None, {"split.zzz": 1})
    with pytest.raises(ParameterError, match=r"zzz is no setting; there are name, .* and the sections data, split,"):
        load_config(None, {"zzz": {"a": 1}})


def test_synonyms_and_sections_lead_to_settings() -> None:
    for name in SYNONYMS.values():
        assert name in all_settings() or name.startswith("model.options.")
    assert not SYNONYMS.keys() & {name.rpartition(".")[2] for name in all_settings()}
    assert set(section_names()) == {n for n, v in TrainingConfig() if isinstance(v, BaseModel)}


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("optimizer.lr=fast", "optimizer.lr is 'fast', but should be a valid number"),
        ("optimizer.lr=0", "optimizer.lr is 0, but should be greater than 0"),
        ("optimizer.lr=.nan", "optimizer.lr is nan, but should be a finite number"),
        ("trainer.epochs=many", "trainer.epochs is 'many', but should be a valid integer"),
        ("split.by=blok", "split.by is 'blok', but should be 'auto', 'blocks', 'file', 'folder', 'dataset' or 'none'"),
        ("chips.size=yes", "chips.size is True, but should be a number or text and not yes or no"),
        ("augmentation.flip=0.5", "augmentation.flip is 0.5, but should be true or false"),
        ("data.bands=[2, 0]", "data.bands is [2, 0], but should be greater than or equal to 1"),
        ("data.legend=[1]", "data.legend is [1], but should be a path or a mapping such as {a: 1}"),
        ("data.labels={a: 1}", "data.labels is {'a': 1}, but should be a list such as [1, 2]"),
        ("model.options=3", "model.options is 3, but should be a mapping such as {a: 1}"),
        ("name=2024", "name is 2024, but should be text; put it in quotes"),
        ("loss=ce", "loss is a section; its settings are loss.expression, loss.class_weights, loss.auxiliary"),
    ],
)  # fmt: skip
def test_wrong_values_are_told_in_one_line(override: str, complaint: str) -> None:
    with pytest.raises(ParameterError) as caught:
        load_config(None, [override])
    assert str(caught.value) == f"--set: {complaint}"


def test_errors_of_a_file_tell_the_line_and_come_together(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# mine\noptimizer:\n  lr: fast\n  knid: sgd\ntrainer:\n  epochs: 0\n")
    with pytest.raises(ParameterError) as caught:
        load_config(path, ["chips.size=-1"])
    assert str(caught.value) == (
        "--set: chips.size is -1, but should be greater than or equal to 1; "
        f"{path}, line 3: optimizer.lr is 'fast', but should be a valid number; "
        f"{path}, line 4: optimizer.knid is no setting, did you mean optimizer.kind?; "
        f"{path}, line 6: trainer.epochs is 0, but should be greater than or equal to 1"
    )


def test_only_the_first_errors_are_told() -> None:
    with pytest.raises(ParameterError, match=r"; and 3 more$"):
        load_config(None, {f"zz{i}": 1 for i in range(8)})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("trainer:\n  epochs: 1\n  epochs: 2\n", "is no YAML: named more than once: epochs"),
        ("- 1\n", "holds no settings but"),
        ("name: a\n\tx: 1\n", "is no YAML: line 2: "),
        ("name: \x00\n", "is no YAML: "),
        ("name: 2026-13-45\n", "is no YAML: month must be"),
    ],
)
def test_files_that_hold_no_settings(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ParameterError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path} {complaint}")
    assert "\n" not in str(caught.value)


def test_an_empty_file_and_one_of_comments_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text in ("", "# nothing\n"):
        path.write_text(text)
        assert load_config(path, {"trainer.epochs": 2}).trainer.epochs == 2


def test_a_file_that_is_not_there_names_the_nearest_recipe(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no file lovda_unet, did you mean loveda_unet"):
        find_config("lovda_unet")
    with pytest.raises(MissingFileError, match=r"there is no file .*zzz.yaml; configs that come along: .*loveda_unet"):
        load_config(tmp_path / "zzz.yaml")
    assert find_config("loveda_unet").stem == "loveda_unet"
    assert "loveda_unet" in recipe_names()


@pytest.mark.parametrize("text", ["optimizer.lr", "=1", "", "optimizer.lr=[1", "name=a: b: c", "a={b: 1, b: 2}"])
def test_overrides_that_are_none(text: str) -> None:
    with pytest.raises(ParameterError, match=r"sets nothing; write KEY=VALUE|has no value in YAML"):
        load_config(None, [text])


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["schedule.warm_up=0"], "one-cycle without warm_up only falls"),
        (["loss.expression=weighted_ce"], "weighted_ce needs class_weights"),
        (["loss.class_weights=median-frequency"], r"class_weights do nothing in ce\+dice"),
        (["split.by=dataset"], "data.dataset names none"),
        (["split.by=folder", "data.images=a", "data.labels=b"], "data.validation_images names none"),
        (["split.by=blocks", "data.images=a", "data.labels=b", "data.validation_images=c", "data.validation_labels=d"],
         "data.validation_images are not used with split.by blocks"),
        (["data.subset=rural"], "subset and download belong to a dataset"),
        (["data.dataset=loveda"], "data_dir is missing"),
        (["data.images=a"], "images and labels belong together"),
        (["data.images=a", "data.labels=b", "data.synthetic=2"], "give one of dataset, images and synthetic"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(overrides: list[str], complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        load_config(None, overrides)


def sections() -> list[type[BaseModel]]:
    return [TrainingConfig, *(type(v) for _, v in TrainingConfig() if isinstance(v, BaseModel))]


@pytest.mark.parametrize("section", sections())
def test_every_key_has_a_meaning(section: type[BaseModel]) -> None:
    assert list(meanings(section)) == list(section.model_fields)
    assert all(len(text) > 5 and "``" not in text and text.endswith(".") for text in meanings(section).values())


def test_what_is_written_has_every_key_below_its_comment() -> None:
    text = dump_config(TrainingConfig())
    content = yaml.safe_load(text)
    for name in all_settings():
        section, _, key = name.rpartition(".")
        assert key in (content[section] if section else content)
    lines = text.splitlines()
    for before, line in pairwise(lines):
        if line and not line.lstrip().startswith("#"):
            assert before.lstrip().startswith("# ")
    assert max(map(len, lines)) <= 120


def test_changes_alone_leave_defaults_as_comments() -> None:
    text = dump_config(load_config(None, {"optimizer.lr": 3e-4}), changed_only=True)
    live = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert [line for line in live if not line.endswith(":")] == ["  lr: 0.0003"]
    assert "  # kind: adamw" in text.splitlines()


def test_data_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DataConfig().dataset = "loveda"  # type: ignore[misc]
