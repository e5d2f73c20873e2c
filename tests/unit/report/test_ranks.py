"""Ranks over datasets: Friedman's test by hand and against scipy, post-hoc tests, left-out methods, and the diagram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.report_records import RECIPE, cifar, record, store
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.schema import Record
from ltbench.report.build import build
from ltbench.report.figures.rank_diagram import rank_diagram
from ltbench.report.figures.style import save
from ltbench.report.ranks import notes, ranks
from ltbench.report.sources import Sources
from ltbench.report.statistics import settings
from scipy import stats

RATIOS = (10, 20, 50, 100, 150, 200)
ORDER = {"erm": (40, 41, 42, 43, 44, 45), "drw": (50, 51, 52, 53, 54, 43), "open": (60, 61, 62, 63, 64, 65)}


def over_ratios(methods: dict[str, tuple[int, ...]] = ORDER, ratios: tuple[int, ...] = RATIOS) -> list[Record]:
    return [
        record(cifar(10, ratio), [10 * accuracy] * 10, method)
        for method, values in methods.items()
        for ratio, accuracy in zip(ratios, values, strict=True)
    ]


def test_friedman_by_hand() -> None:
    """ERM, DRW and OPeN have the ranks 3, 2, 1 five times and 2, 3, 1 once.

    chi2 = 12 N / (k (k + 1)) (sum of squared mean ranks - k (k + 1)^2 / 4)
    """
    over = ranks(settings(over_ratios()))
    assert over.mean.to_dict() == pytest.approx({"open": 1.0, "drw": 13 / 6, "erm": 17 / 6})
    chi2 = 12 * 6 / (3 * 4) * (1 + (13 / 6) ** 2 + (17 / 6) ** 2 - 3 * 16 / 4)
    assert over.p == pytest.approx(stats.chi2.sf(chi2, 2))
    assert over.p == pytest.approx(stats.friedmanchisquare(*over.accuracies.to_numpy().T).pvalue)


def test_ties_share_a_rank() -> None:
    even = {"a": (50,) * 6, "b": (50,) * 6, "c": (40,) * 6}
    assert ranks(settings(over_ratios(even))).mean.to_dict() == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_nemenyi_separates_the_ends() -> None:
    over = ranks(settings(over_ratios()))
    assert over.pairs.loc["open", "erm"] < 0.05 < over.pairs.loc["open", "drw"]
    gap = (17 / 6 - 1) / np.sqrt(3 * 4 / (6 * 6)) * np.sqrt(2)
    assert over.pairs.loc["open", "erm"] == pytest.approx(stats.studentized_range.sf(gap, 3, np.inf), rel=1e-4)


def test_what_only_few_datasets_have_is_left_out() -> None:
    extra = [record(cifar(10, 10), [990] * 10, "rare"), record(cifar(10, 300), [500] * 10, "erm")]
    over = ranks(settings([*over_ratios(), *extra]))
    assert set(over.accuracies) == set(ORDER)
    assert len(over.accuracies) == 6


@pytest.mark.parametrize("short", ["datasets", "methods"])
def test_too_few_are_refused(short: str) -> None:
    few = {name: values[:5] for name, values in ORDER.items()}
    runs = over_ratios(few, RATIOS[:5]) if short == "datasets" else over_ratios({"a": ORDER["erm"], "b": ORDER["drw"]})
    with pytest.raises(UserError, match="No ranks over datasets: they need 3 methods with records on the same 6"):
        ranks(settings(runs))


def test_two_recipes_of_one_dataset_count_once() -> None:
    again = [record(cifar(10, 10), [500] * 10, m, recipe=RECIPE | {"name": "other", "epochs": 9}) for m in ORDER]
    assert len(ranks(settings([*over_ratios(), *again])).accuracies) == 6


def test_notes_claim_no_more_than_the_test() -> None:
    assert "at least two methods differ" in notes(ranks(settings(over_ratios())))[1]
    mixed = {"a": (50, 51, 52, 40, 41, 42), "b": (51, 50, 53, 39, 42, 41), "c": (52, 52, 51, 41, 40, 43)}
    assert "the test shows no difference between the methods" in notes(ranks(settings(over_ratios(mixed))))[1]


def test_the_diagram_is_drawn_and_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltbench.report.build.draw_all", lambda jobs, say: [[] for _ in jobs])  # other figures are slow
    figure = rank_diagram(ranks(settings(over_ratios())))
    assert figure.get_figheight() == pytest.approx(1.2)  # room for labels on both sides
    assert save(figure, "png").startswith(b"\x89PNG")
    store(over_ratios(), tmp_path / "results")
    build(Sources(tmp_path / "results"), tmp_path / "out", formats=["svg"])
    assert (tmp_path / "out" / "figures" / "ranks.svg").is_file()
    assert "![Average ranks](figures/ranks.svg)" in (tmp_path / "out" / "leaderboard.md").read_text("utf-8")
    assert "Critical-difference diagram" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_without_the_extra_the_report_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scikit_posthocs", None)
    with pytest.raises(UserError, match=r"pip install 'ltbench\[stats\]'"):
        ranks(settings(over_ratios()))
