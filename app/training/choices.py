"""How the recipe is chosen: every technique is kept or dropped by what it does on validation, and the evidence is kept.

Validation is several half-years in a row, each forecast by students that were trained on what lay before it, with more
than one seed. A technique counts as better only when its mean advantage exceeds the standard error of that advantage:
two trainings that differ in nothing but the seed differ too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import optuna

from app.judging.scores import forecasts_of, metrics
from app.training.kept import KeptWork
from app.training.lessons import Lesson, together
from app.training.student import Recipe, fit_student, loss_of
from app.types import FloatArray

DIGITS = 6
SHOWN = ("accuracy", "auc", "brier", "ece", "r2_log_vol")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """What a student can be trained on before some date: our asset's windows and another's in either form.

    ``teacher`` holds the teacher's outputs for the windows of each name, (n, 3).
    """

    lessons: Mapping[str, Lesson]
    teacher: Mapping[str, FloatArray]

    def prepared(self, recipe: Recipe) -> tuple[Lesson, FloatArray | None]:
        """The lesson that a recipe asks for, with the teacher's outputs where it listens to one."""
        names = ["ours"]
        if recipe.other_asset in self.lessons:
            names.append(recipe.other_asset)
        shares = [1.0, recipe.other_weight]
        lesson = together(
            [(self.lessons[name], share) for name, share in zip(names, shares, strict=False)],
            half_life_years=recipe.half_life_years,
        )
        if not recipe.teacher_weight:
            return lesson, None
        return lesson, np.concatenate([self.teacher[name] for name in names])


@dataclass(frozen=True, slots=True)
class Fold:
    """Material from before a half-year of validation, and that half-year."""

    name: str
    material: Material
    validation: Lesson


@dataclass(frozen=True, slots=True)
class Score:
    """A recipe on validation: ``losses`` one per fold and seed, ``means`` the metrics' means over them."""

    losses: tuple[float, ...]
    means: Mapping[str, float]

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses))

    def advantage(self, over: Score) -> tuple[float, float]:
        """How much lower the loss is than another's in the same folds with the same seeds, and its standard error."""
        gains = np.asarray(over.losses) - np.asarray(self.losses)
        return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0

    def beats(self, other: Score) -> bool:
        gain, error = self.advantage(other)
        return gain > error


@dataclass(frozen=True, slots=True)
class Technique:
    """One question: what to change, in each of the ways that are tried."""

    name: str
    variants: Mapping[str, Mapping[str, Any]]


TECHNIQUES = (
    Technique("weight decay", {"0.1": {"weight_decay": 0.1}, "0.4": {"weight_decay": 0.4}}),
    Technique("input noise", {"0.2": {"noise": 0.2}, "0.4": {"noise": 0.4}}),
    Technique(
        "learning-rate schedule",
        {
            "constant 0.003": {"schedule": "constant", "learning_rate": 3e-3},
            "constant 0.015": {"schedule": "constant"},
        },
    ),
    Technique("dropout", {"0.1": {"dropout": 0.1}}),
    Technique("batch norm, folded at export", {"on": {"batch_norm": True}}),
    Technique("early stopping", {"of twice the epochs": {"early_stopping": True, "epochs": 12}}),
    Technique("recency", {"half-life 2 years": {"half_life_years": 2.0}, "1 year": {"half_life_years": 1.0}}),
    Technique(
        "a second asset",
        {"as it is": {"other_asset": "as it is"}, "at our level": {"other_asset": "at our level"}},
    ),
    Technique(
        "distillation",
        {
            "both heads, T = 1, α = 0.7": {"teacher_weight": 0.7, "teacher_weight_vol": 0.7},
            **{
                f"regime, T = {temperature:g}, α = {weight:g}": {"teacher_weight": weight, "temperature": temperature}
                for temperature, weight in ((1.0, 0.3), (1.0, 0.7), (2.0, 0.7), (4.0, 0.7), (1.0, 1.0))
            },
        },
    ),
    Technique("pruning", {"30 % of hidden weights": {"pruned": 0.3}}),
    Technique("quantisation-aware last epoch", {"on": {"quantisation_aware": True}}),
    Technique("calibration folded into the last layer", {"on the newest year": {"calibrated": True}}),
)
SEARCHED = {
    "learning_rate": (5e-3, 4e-2),
    "weight_decay": (0.05, 1.0),
    "noise": (0.05, 0.6),
    "half_life_years": (0.75, 6.0),
    "teacher_weight": (0.3, 1.0),
}
"""What Optuna may move, within which bounds, for as far as the recipe uses it at all."""


class Judge:
    """Scores recipes on the folds; every score is kept, so an interrupted comparison goes on."""

    def __init__(self, folds: Sequence[Fold], seeds: Sequence[int], kept: KeptWork) -> None:
        self._folds, self._seeds, self._kept = folds, seeds, kept

    def score(self, recipe: Recipe) -> Score:
        """The recipe's students on every fold with every seed, with the weights as the circuit would round them."""
        name = "score-" + self._kept.digest_of(asdict(recipe))
        entry = self._kept.stage(name, lambda: self._measure(recipe))
        return Score(tuple(entry["losses"]), entry["means"])

    def _measure(self, recipe: Recipe) -> Json:
        found = [one for fold in self._folds for one in _on_fold(fold, recipe, self._seeds)]
        means = {name: float(np.mean([result[name] for _, result in found])) for name in SHOWN}
        return {"losses": [loss for loss, _ in found], "means": means}


def choose_techniques(start: Recipe, judge: Judge, *, another_asset: bool, say: Callable[[str], None]) -> Json:
    """Try every technique on top of what was kept before it; gives the recipe and a row for each attempt."""
    recipe, best = start, judge.score(start)
    rows = [{"technique": "start", "variant": "plain network", "kept": True, **_shown(best, best)}]
    for technique in TECHNIQUES:
        if technique.name == "a second asset" and not another_asset:
            rows.append({"technique": technique.name, "variant": "no second candle file was given", "kept": False})
            continue
        scores = {name: judge.score(replace(recipe, **change)) for name, change in technique.variants.items()}
        winner = min(scores, key=lambda name: scores[name].loss)
        keep = scores[winner].beats(best)
        rows += [
            {
                "technique": technique.name,
                "variant": name,
                "kept": keep and name == winner,
                **_shown(score, best),
            }
            for name, score in scores.items()
        ]
        say(f"{technique.name}: {f'kept ({winner})' if keep else 'dropped'}")
        if keep:
            recipe, best = replace(recipe, **technique.variants[winner]), scores[winner]
    return {"recipe": asdict(recipe), "rows": rows}


def search(recipe: Recipe, judge: Judge, *, trials: int, seed: int, say: Callable[[str], None]) -> Json:
    """Let Optuna move the recipe's numbers; gives the recipe and the trials.

    Every trial draws from a sampler of its own, seeded by its number, so the study takes the same way whenever it is
    gone through. After an interrupt it is gone through again from the start: the judge still has the scores.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    moved = {name: bounds for name, bounds in SEARCHED.items() if getattr(recipe, name)}
    start, study = judge.score(recipe), optuna.create_study()
    for number in range(trials):
        study.sampler = _sampler(1000 * seed + number, trials)
        trial = study.ask()
        values: Json = {
            name: round(trial.suggest_float(name, *bounds, log=name != "teacher_weight"), 4)
            for name, bounds in moved.items()
        }
        score = judge.score(replace(recipe, **values))
        trial.set_user_attr("values", values)
        study.tell(trial, score.loss)
        say(f"search: trial {number + 1} of {trials}, loss {score.loss:.4f} (before the search {start.loss:.4f})")
    rows = [{**trial.user_attrs["values"], "loss": round(float(trial.value or 0), DIGITS)} for trial in study.trials]
    best = min(rows, key=lambda row: row["loss"], default={})
    found = replace(recipe, **{name: value for name, value in best.items() if name != "loss"})
    score = judge.score(found)
    keep = score.beats(start)
    return {
        "recipe": asdict(found if keep else recipe),
        "kept": keep,
        "trials": rows,
        "found": {name: getattr(found, name) for name in moved},
        "before": _shown(start, start),
        "after": _shown(score, start),
    }


def _sampler(seed: int, trials: int) -> optuna.samplers.TPESampler:
    """A tree-structured Parzen estimator (Bergstra et al., 2011) that looks at all numbers together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=trials // 3, multivariate=True, constant_liar=False
        )


def _on_fold(fold: Fold, recipe: Recipe, seeds: Sequence[int]) -> Iterator[tuple[float, Json]]:
    lesson, teacher = fold.material.prepared(recipe)
    for seed in seeds:
        weights = fit_student(lesson, teacher, recipe, seed).rounded()
        part = fold.validation.samples
        yield loss_of(weights, part), dict(metrics(forecasts_of(weights.outputs(part.observations)), part))


def _shown(score: Score, against: Score) -> Json:
    gain, error = score.advantage(against)
    return {
        "loss": round(score.loss, DIGITS),
        "gain": round(gain, DIGITS),
        "gain_error": round(error, DIGITS),
        **{name: round(value, DIGITS) for name, value in score.means.items()},
    }
