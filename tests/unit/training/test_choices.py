from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.features.variation import INPUTS
from app.training.datasets import Samples
from app.types import MINUTE_MS

pytest.importorskip("optuna", reason="optuna comes with the train extra")
pytest.importorskip("torch", reason="torch comes with the train extra")
from app.training import choices
from app.training.choices import SEARCHED, SHOWN, Fold, Judge, Material, Score, choose_techniques, search
from app.training.kept import KeptWork
from app.training.lessons import Lesson
from app.training.student import Recipe

MEANS = dict.fromkeys(SHOWN, 0.8)
START = Recipe(weight_decay=0.1, noise=0.2)
MOVED = {"learning_rate", "weight_decay", "noise"}


def scored(*losses: float) -> Score:
    return Score(losses, MEANS)


class Stub:
    """Judges by a function instead of by training; ``asked`` holds every recipe it was asked about."""

    def __init__(self, loss: Callable[[Recipe], float], *, fails_at: int | None = None) -> None:
        self.loss, self.fails_at = loss, fails_at
        self.asked: list[Recipe] = []

    def score(self, recipe: Recipe) -> Score:
        self.asked.append(recipe)
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        loss = self.loss(recipe)
        return scored(loss, loss + 0.01)


def chosen(loss: Callable[[Recipe], float], *, another_asset: bool = True) -> tuple[Recipe, list[dict[str, Any]]]:
    judge: Any = Stub(loss)
    found = choose_techniques(Recipe(), judge, another_asset=another_asset, say=lambda _: None)
    return Recipe(**found["recipe"]), found["rows"]


def searched(judge: Any, *, trials: int = 6, recipe: Recipe = START, seed: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = search(recipe, judge, trials=trials, seed=seed, say=lambda _: None)
    return found


def bowl(recipe: Recipe) -> float:
    """Lowest at a learning rate of 0.01 and a noise of 0.3."""
    return float(np.log(recipe.learning_rate / 0.01) ** 2 + 4 * (recipe.noise - 0.3) ** 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "beats"),
    [
        # Gains 0.1 and 0.1: no error at all.
        ((0.4, 0.5), (0.5, 0.6), True),
        # Gains 0.3 and -0.1: mean 0.1, error 0.2.
        ((0.4, 0.6), (0.7, 0.5), False),
        # Gains 0.25 and 0: mean and error are both 0.125, exactly.
        ((0.25, 0.5), (0.5, 0.5), False),
        ((0.5, 0.6), (0.5, 0.6), False),
        ((0.5, 0.6), (0.4, 0.5), False),
        ((0.4,), (0.5,), True),
        ((0.5,), (0.5,), False),
    ],
)
def test_beats__mean_gain_against_its_standard_error(
    ours: tuple[float, ...], theirs: tuple[float, ...], beats: bool
) -> None:
    assert scored(*ours).beats(scored(*theirs)) is beats


def test_advantage__by_hand__is_the_mean_of_paired_gains_and_its_error() -> None:
    gain, error = scored(0.4, 0.5, 0.3).advantage(scored(0.5, 0.7, 0.3))
    assert gain == pytest.approx(0.1)
    assert error == pytest.approx(0.1 / 3**0.5)


def test_choose_techniques__nothing_helps__keeps_the_plain_network() -> None:
    recipe, rows = chosen(lambda recipe: 0.5 if recipe == Recipe() else 0.6)
    assert recipe == Recipe()
    assert [row["technique"] for row in rows if row["kept"]] == ["start"]
    assert all(row["gain"] == pytest.approx(-0.1) for row in rows[1:])


def test_choose_techniques__one_helps__is_kept_in_its_best_variant_and_built_upon() -> None:
    def loss(recipe: Recipe) -> float:
        return 0.5 - {0.01: 0.0, 0.1: 0.05, 0.4: 0.08}[recipe.weight_decay] + (0.2 if recipe.dropout else 0)

    recipe, rows = chosen(loss)
    assert recipe == replace(Recipe(), weight_decay=0.4)
    kept = [(row["technique"], row["variant"]) for row in rows if row["kept"]]
    assert kept == [("start", "plain network"), ("weight decay", "0.4")]
    later = next(row for row in rows if row["technique"] == "dropout")
    assert later["gain"] == pytest.approx(-0.2), "against what was kept before it"
    assert later["loss"] == pytest.approx(0.5 - 0.08 + 0.2 + 0.005)


def test_choose_techniques__every_technique__is_asked_about_on_top_of_what_was_kept() -> None:
    judge: Any = Stub(lambda recipe: 0.4 if recipe.batch_norm else 0.5)
    choose_techniques(Recipe(), judge, another_asset=True, say=lambda _: None)
    variants = [change for technique in choices.TECHNIQUES for change in technique.variants.values()]
    assert len(judge.asked) == 1 + len(variants)
    number = 1 + variants.index({"batch_norm": True})
    assert not any(recipe.batch_norm for recipe in judge.asked[:number])
    assert all(recipe.batch_norm for recipe in judge.asked[number:])


def test_choose_techniques__without_another_asset__says_so_and_never_uses_it() -> None:
    recipe, rows = chosen(lambda recipe: 0.1 if recipe.other_asset != "none" else 0.5, another_asset=False)
    assert recipe.other_asset == "none"
    row = next(row for row in rows if row["technique"] == "a second asset")
    assert row == {"technique": "a second asset", "variant": "no second candle file was given", "kept": False}
    assert chosen(lambda recipe: 0.1 if recipe.other_asset != "none" else 0.5)[0].other_asset == "as it is"


def test_search__something_better__is_found_within_the_bounds() -> None:
    found = searched(Stub(bowl), trials=12)
    assert found["kept"]
    recipe = Recipe(**found["recipe"])
    assert bowl(recipe) < bowl(START)
    assert recipe == replace(START, **found["found"])
    assert set(found["found"]) == MOVED
    assert len(found["trials"]) == 12
    for name in MOVED:
        low, high = SEARCHED[name]
        assert all(low <= trial[name] <= high for trial in found["trials"])
    assert min(trial["loss"] for trial in found["trials"]) == pytest.approx(found["after"]["loss"])


def test_search__nothing_better__keeps_the_start() -> None:
    found = searched(Stub(lambda recipe: 0.4 if recipe == START else 0.5))
    assert not found["kept"]
    assert Recipe(**found["recipe"]) == START
    assert found["after"]["gain"] == pytest.approx(-0.1)


def test_search__what_the_recipe_does_not_use__is_not_moved() -> None:
    judge = Stub(bowl)
    searched(judge, recipe=replace(START, noise=0.0))
    assert all(recipe.noise == 0 and recipe.teacher_weight == 0 for recipe in judge.asked)
    assert all(recipe.half_life_years is None for recipe in judge.asked)


def test_search__no_trials__keeps_the_start() -> None:
    found = searched(Stub(bowl), trials=0)
    assert Recipe(**found["recipe"]) == START
    assert found["trials"] == []


def test_search__another_seed__asks_about_other_recipes() -> None:
    judges = [Stub(bowl), Stub(bowl)]
    for seed, judge in enumerate(judges):
        searched(judge, seed=seed)
    assert judges[0].asked[0] == judges[1].asked[0]
    assert not set(judges[0].asked[1:]) & set(judges[1].asked[1:])


@pytest.mark.parametrize("fails_at", [1, 2, 4, 7, 8])
def test_search__interrupted__goes_on_to_the_same_result(fails_at: int) -> None:
    whole = searched(Stub(bowl))
    with pytest.raises(KeyboardInterrupt):
        searched(Stub(bowl, fails_at=fails_at))
    assert searched(Stub(bowl)) == whole


def test_search__gone_through_again__asks_the_same_questions() -> None:
    """So an interrupted search finds every score that the judge has kept."""
    first, again = Stub(bowl), Stub(bowl)
    searched(first)
    searched(again)
    assert first.asked == again.asked
    assert len(first.asked) == 1 + 6 + 1


def taught(seed: int, n: int = 600) -> Lesson:
    rng = np.random.default_rng(seed)
    observations = rng.integers(-256, 257, (n, INPUTS)).astype(np.int16)
    volatility = 0.0005 * np.exp(observations[:, 0] / 256 + 0.001)
    samples = Samples(np.arange(n, dtype=np.int64) * MINUTE_MS, observations, volatility, {}, 0)
    return Lesson(samples, np.ones(n), np.empty((n, 0), dtype=np.float32), n)


@pytest.fixture
def folds() -> list[Fold]:
    teacher: Mapping[str, Any] = {"ours": np.zeros((600, 3))}
    return [Fold(f"fold {n}", Material({"ours": taught(n)}, teacher), taught(10 + n)) for n in range(2)]


def test_judge__folds_and_seeds__gives_a_loss_for_each_and_keeps_it(
    folds: list[Fold], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(hidden=4, epochs=2, batch=50)
    score = Judge(folds, (0, 1), KeptWork(tmp_path, "production", {})).score(recipe)
    assert len(score.losses) == 4
    assert len(set(score.losses)) == 4
    assert set(score.means) == set(SHOWN)
    monkeypatch.setattr(choices, "fit_student", None)
    again = Judge(folds, (0, 1), KeptWork(tmp_path, "production", {}))
    assert again.score(recipe) == score
    with pytest.raises(TypeError):
        again.score(replace(recipe, epochs=3))


def test_judge__weights__are_judged_as_the_circuit_rounds_them(
    folds: list[Fold], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(choices, "loss_of", lambda weights, _: seen.append(weights) or 0.5)
    Judge(folds[:1], (0,), KeptWork(tmp_path, "production", {})).score(Recipe(hidden=4, epochs=1, batch=50))
    assert np.array_equal(seen[0].hidden * 1024, np.rint(seen[0].hidden * 1024))
