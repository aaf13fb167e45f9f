"""The production model, from recorded candles to a released folder. Read this file first: it is the whole path.

Teachers are compared, techniques kept or dropped, numbers searched and the size found on validation, on half-years that
lie before the test. Only then are teacher and student trained on everything before the test, and the test is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app import __version__
from app.features.realised import HORIZON_MINUTES, Series
from app.features.variation import VariationSpec
from app.judging.scores import forecasts_of, metrics
from app.proving.engine import sha256_file
from app.training.baselines import HarRv
from app.training.choices import SEARCHED, TECHNIQUES, Fold, Judge, Material, choose_techniques, search
from app.training.circuit import Weights
from app.training.classic.baseline import FILES, check_classic, classic_forecasts
from app.training.datasets import Period, Samples, Split, calendar_split, samples, share_split
from app.training.examination import Examined, examine, examine_other, fitted_on, proved
from app.training.export import Release, refuse_existing, release_model, versions
from app.training.frontier import SIZES, Cost, cost_of, knee, points, scores_by_size
from app.training.kept import KeptWork
from app.training.lessons import Lesson, lesson
from app.training.material import AS_IT_IS, OURS, Market, lessons_of, open_market
from app.training.student import NONE, OtherAsset, Recipe, fit_student, losses
from app.training.teachers.candidates import CANDIDATES, CONFIGURATION, ENSEMBLE, ENSEMBLE_WHAT
from app.training.walkforward import walk_forward
from app.training.watch import Say
from app.types import FloatArray, iso

VALIDATION, TEST = "validation", "test"
DIGITS = 6
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to train: how to split, minutes between windows, and how much to try."""

    split: Callable[[Series], Split]
    days: int | None
    every: int
    test_every: int
    start: Recipe
    teachers: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: int
    sizes: tuple[int, ...]
    proofs: int
    walk_months: int
    witnesses: int


FULL = Plan(
    split=calendar_split,
    days=None,
    every=10,
    test_every=1,
    start=Recipe(),
    teachers=tuple(CANDIDATES),
    seeds=(0, 1, 2),
    trials=24,
    sizes=SIZES,
    proofs=5,
    walk_months=30,
    witnesses=256,
)
QUICK = Plan(
    split=share_split,
    days=90,
    every=10,
    test_every=5,
    start=Recipe(batch=256, epochs=4),
    teachers=("gradient_boosting", "wide_ensemble"),
    seeds=(0,),
    trials=3,
    sizes=(4, 16),
    proofs=1,
    walk_months=3,
    witnesses=8,
)
"""A quick run looks at the end of the file only, to try the software; its model is not to be relied on."""


def train_production(
    candles: Path,
    out: Path,
    *,
    kept: Path,
    name: str,
    seed: int = 0,
    quick: bool = False,
    force: bool = False,
    say: Say,
    also: Path | None = None,
    classic: Path | None = None,
    feeds: tuple[str, ...] = ("btc-usdt-4h",),
) -> Json:
    """Train on a candle file and release the student as the folder ``out``; gives the manifest.

    ``also`` is another asset's file, to learn from and to test on; ``classic`` a folder that `train classic` wrote, to
    compare with. The model is declared fit for ``feeds``: it should be tested on each. Finished stages are kept under
    ``kept``, so an interrupted run goes on. Raises `CandleFileInvalid` for a file that cannot be used or is too short,
    and `ModelFolderInvalid` when ``out`` exists and ``force`` is not set. The same files, seed and machine give the
    same bytes but for ``report/``, where proofs are timed.
    """
    refuse_existing(out, force=force)
    plan = QUICK if quick else FULL
    if classic is not None:
        check_classic(classic)
    market = open_market(candles, also, days=plan.days, split=plan.split, every=plan.every)
    work = KeptWork(kept, "production", _identity(market, plan, name, seed, classic))
    if work.resumed:
        say("going on with an interrupted run")

    teachers, folds = compare_teachers(market, plan, seed, work, say)
    judge = Judge(folds, plan.seeds, work)
    techniques = choose_techniques(plan.start, judge, another_asset=market.other is not None, say=say)
    searched = search(Recipe(**techniques["recipe"]), judge, trials=plan.trials, seed=seed, say=say)
    recipe = Recipe(**searched["recipe"])
    scores = scores_by_size(recipe, judge, plan.sizes, say)
    costs = {size: Cost(**work.stage(f"cost-{size}", partial(_cost, size, plan.proofs))) for size in plan.sizes}
    recipe = replace(recipe, hidden=knee(scores, costs))
    say(f"{recipe.hidden} hidden units are the knee of the frontier; every choice is made, opening the test")

    final = train_final(market, recipe, teachers["chosen"], plan, seed, work, say)
    examined = open_test(market, final, plan, seed, classic, say)
    walked = walk_forward(market, recipe, months=plan.walk_months, seed=seed, kept=work, say=say)
    record = {
        "data": {"ours": market.ours.to_record(), "other": market.other.to_record() if market.other else None},
        "split": _split_record(market, plan, final, folds),
        "seed": seed,
        "quick": quick,
        "seeds": list(plan.seeds),
        "recipe": asdict(recipe),
        "teachers": teachers,
        "techniques": techniques["rows"],
        "search": searched,
        "frontier": points(scores, costs, recipe.hidden),
        "walk_forward": walked,
        "baselines": {"har_rv": final.har.to_record()},
        "test": examined.record,
        "versions": versions(),
    }
    seconds = {size: cost.seconds for size, cost in costs.items()}
    release = Release(
        name, feeds, final.student, final.spec, record, final.test, examined.forecasts, plan.witnesses, seconds
    )
    manifest = release_model(release, out, force=force)
    work.finish()
    return manifest


@dataclass(frozen=True, slots=True)
class Final:
    """What was trained on everything before the test, and what it was trained on.

    ``students`` holds the released student and its sibling with the other view of the second asset.
    """

    spec: VariationSpec
    train: Samples
    test: Samples
    student: Weights
    students: Mapping[str, Weights]
    teacher: FloatArray
    har: HarRv


def compare_teachers(market: Market, plan: Plan, seed: int, work: KeptWork, say: Say) -> tuple[Json, list[Fold]]:
    """Every candidate on every fold; gives the comparison and the folds with the chosen teacher's outputs."""
    prepared = [_fold_lessons(market, train, stretch) for train, stretch in market.split.folds]
    rows: list[Json] = []
    thoughts: dict[str, list[dict[str, FloatArray]]] = {}
    for name in plan.teachers:
        thoughts[name] = []
        for number, lessons in enumerate(prepared, start=1):
            say(f"teacher {name}: fold {number} of {len(prepared)}")
            stage = partial(_taught, name, lessons, seed)
            thoughts[name].append(_arrays(work.stage(f"teacher-{name}-{number}", stage)))
    thoughts[ENSEMBLE] = [
        {part: np.mean([thoughts[name][number][part] for name in plan.teachers], axis=0) for part in lessons}
        for number, lessons in enumerate(prepared)
    ]
    for name, outputs in thoughts.items():
        found = [
            _judged(said[VALIDATION], lessons[VALIDATION]) for said, lessons in zip(outputs, prepared, strict=True)
        ]
        means = {key: round(float(np.mean([one[key] for one in found])), DIGITS) for key in found[0]}
        rows.append({"teacher": name, "what": CANDIDATES[name].what if name in CANDIDATES else ENSEMBLE_WHAT, **means})
        say(f"teacher {name}: validation loss {rows[-1]['loss']:.4f}, AUC {rows[-1]['auc']:.4f}")
    chosen = min(rows, key=lambda row: row["loss"])["teacher"]
    folds = []
    for (_, stretch), lessons, said in zip(market.split.folds, prepared, thoughts[chosen], strict=True):
        material = Material({name: part.bare() for name, part in lessons.items() if name != VALIDATION}, said)
        folds.append(Fold(iso(int(market.ours.series.time_ms(stretch.start))), material, lessons[VALIDATION].bare()))
    return {"chosen": chosen, "rows": rows}, folds


def train_final(market: Market, recipe: Recipe, teacher: str, plan: Plan, seed: int, work: KeptWork, say: Say) -> Final:
    """Teacher and student of everything before the test, and what the teacher thinks of the test's windows."""
    spec, lessons = lessons_of(market, market.split.train)
    test = lesson(market.ours.series, market.split.test, spec, every=plan.test_every, to_train=False)
    names = [name for name in plan.teachers if teacher in (name, ENSEMBLE)]
    asked = {**lessons, TEST: test}
    say(f"training the final teacher ({teacher}) and students on {len(lessons[OURS])} windows and more")
    thoughts = [_arrays(work.stage(f"final-{name}", partial(_taught, name, asked, seed))) for name in names]
    said = {part: np.mean([thought[part] for thought in thoughts], axis=0) for part in asked}
    material = Material({name: part.bare() for name, part in lessons.items()}, said)
    students = {
        label: _fit(material, replace(recipe, other_asset=view), seed) for label, view in _views(recipe, market)
    }
    return Final(
        spec=spec,
        train=lessons[OURS].samples,
        test=test.samples,
        student=students[_label(recipe.other_asset)],
        students=students,
        teacher=said[TEST],
        har=HarRv.fit(lessons[OURS].samples),
    )


def open_test(market: Market, final: Final, plan: Plan, seed: int, classic: Path | None, say: Say) -> Examined:
    """Everything that is said about the test, and about another asset in the same months."""
    train, validation = (
        samples(market.ours.series, period, final.spec, every=plan.every) for period in market.split.folds[-1]
    )
    say("fitting the baselines on the same time")
    others = fitted_on(train, validation, final.test, final.har, seed)
    if classic is not None:
        others |= classic_forecasts(classic, market.ours.candles, final.test)
    examined = examine(final.student, final.teacher, others, final.test)
    examined.record["other_asset"] = examine_other(market, final.spec, final.students, every=plan.test_every)
    examined.record["students"] = {
        label: metrics(proved(weights, final.test), final.test) for label, weights in final.students.items()
    }
    return examined


def _identity(market: Market, plan: Plan, name: str, seed: int, classic: Path | None) -> Json:
    """Everything that decides the result."""
    return {
        "candles": [market.ours.sha256, market.other.sha256 if market.other else None],
        "classic": None if classic is None else [sha256_file(classic / file) for file in FILES],
        "name": name,
        "seed": seed,
        "plan": {**asdict(plan), "split": plan.split.__name__},
        "techniques": [asdict(technique) for technique in TECHNIQUES],
        "searched": SEARCHED,
        "teachers": CONFIGURATION,
        "versions": {**versions(), "veriregime": __version__},
    }


def _cost(size: int, proofs: int) -> Json:
    return asdict(cost_of(size, proofs))


def _fold_lessons(market: Market, train: Period, stretch: Period) -> dict[str, Lesson]:
    spec, lessons = lessons_of(market, train)
    return {**lessons, VALIDATION: lesson(market.ours.series, stretch, spec, every=market.every)}


def _taught(name: str, lessons: Mapping[str, Lesson], seed: int) -> dict[str, torch.Tensor]:
    """What a teacher of our asset thinks of every window, its own and those it has not seen, as tensors to keep."""
    teacher = CANDIDATES[name].fit(lessons[OURS], seed)
    return {part: torch.from_numpy(teacher.outputs(lesson)) for part, lesson in lessons.items()}


def _arrays(kept: Mapping[str, torch.Tensor]) -> dict[str, FloatArray]:
    return {name: tensor.numpy() for name, tensor in kept.items()}


def _judged(outputs: FloatArray, part: Lesson) -> dict[str, float]:
    entropy, error = losses(outputs, part.samples)
    scores = {name: float(value or 0) for name, value in metrics(forecasts_of(outputs), part.samples).items()}
    return {"loss": entropy + error, **scores}


def _fit(material: Material, recipe: Recipe, seed: int) -> Weights:
    prepared, teacher = material.prepared(recipe)
    return fit_student(prepared, teacher, recipe, seed)


def _views(recipe: Recipe, market: Market) -> list[tuple[str, OtherAsset]]:
    """The released student and, where there is another asset, its sibling that has or has not learnt from it."""
    if market.other is None:
        return [(_label(NONE), NONE)]
    other = AS_IT_IS if recipe.other_asset == NONE else recipe.other_asset
    return [(_label(NONE), NONE), (_label(other), other)]


def _label(view: OtherAsset) -> str:
    return "never trained on it" if view == NONE else "trained on it"


def _split_record(market: Market, plan: Plan, final: Final, folds: list[Fold]) -> Json:
    series, split = market.ours.series, market.split
    return {
        "embargo_minutes": HORIZON_MINUTES,
        "train": _stretch(series, split.train, final.train, plan.every),
        "folds": [
            _stretch(series, stretch, fold.validation.samples, plan.every)
            for (_, stretch), fold in zip(split.folds, folds, strict=True)
        ],
        "test": _stretch(series, split.test, final.test, plan.test_every),
    }


def _stretch(series: Series, period: Period, part: Samples, every: int) -> Json:
    """First and last window, and how many there are; ``labels_end`` is when the last label is known."""
    return {
        "from": iso(int(part.end_ms[0])),
        "to": iso(int(part.end_ms[-1])),
        "labels_end": iso(int(series.time_ms(period.end))),
        "every_minutes": every,
        "samples": len(part),
        "left_out": part.left_out,
        "high_share": round(float(part.high.mean()), DIGITS),
    }
