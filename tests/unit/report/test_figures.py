"""Figures: contents, layout, and reproducible files."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.report_records import dataset, lifelike_setting, record
from ltbench.report.figures import caption, drawn
from ltbench.report.figures.bars import group_bars
from ltbench.report.figures.classes import _fractions, class_counts, class_lines, moving_mean
from ltbench.report.figures.style import save
from ltbench.report.groups import Group
from ltbench.report.statistics import settings


def test_bars_leave_a_gap_for_an_empty_group() -> None:
    setting = lifelike_setting()
    (axes,) = group_bars(setting, setting.shots).axes
    assert [len(bars) for bars in axes.containers if hasattr(bars, "patches")] == [2, 2, 2]
    assert axes.get_xticklabels()[2].get_text() == "few\nno class"
    assert "–" in [text.get_text() for text in axes.texts]
    heights = [bar.get_height() for bar in axes.containers[0].patches]  # type: ignore[attr-defined]
    spreads = [setting.rows[0].groups[name] for name in ("many", "medium")]
    assert heights == pytest.approx([100 * s.mean for s in spreads if s])


def test_class_counts_have_a_log_axis_from_ratio_10() -> None:
    runs = [record(dataset(counts), [50, 50, 50]) for counts in ([300, 100, 30], [300, 100, 31])]
    assert [class_counts(settings([r])[0]).axes[0].get_yscale() for r in runs] == ["log", "linear"]


def test_a_balanced_small_set_still_shows_its_counts() -> None:
    setting = settings([record(dataset([50, 50, 50, 50, 50]), [10, 20, 30, 40, 50])])[0]
    (axes,) = class_counts(setting).axes
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["all (5)"]
    (axes,) = group_bars(setting, setting.parts).axes
    assert [text.get_text() for text in axes.texts] == ["–"] * 5


def test_dollars_in_names_are_no_formulas() -> None:
    data = dataset([200, 50], class_names=["$x_", "$\\frac$"])
    setting = settings([record(data, [50, 50], changed={"p": "$\\bad$"})])[0]
    assert save(class_lines(setting), "png").startswith(b"\x89PNG")


def test_class_lines_sort_by_training_images() -> None:
    runs = [record(dataset([50, 200, 10]), [50, 90, 10]), record(dataset([50, 200, 10]), [70, 90, 10], seed=1)]
    (axes,) = class_lines(settings(runs)[0]).axes
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == pytest.approx([90, 60, 10])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["class 1", "class 0", "class 2"]
    assert moving_mean(np.array([1.0, 2.0, 6.0, 4.0]), 3).tolist() == pytest.approx([3, 4])


@pytest.mark.parametrize(("classes", "methods"), [(10, 1), (100, 12)])
def test_legend_is_outside_and_figures_fit_a_page(classes: int, methods: int) -> None:
    setting = lifelike_setting(classes, methods=methods)
    for figure in (group_bars(setting, setting.parts), class_lines(setting), class_counts(setting)):
        figure.draw_without_rendering()
        legend, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
        assert legend.y0 >= axes.y1
        assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
        assert 3.4 <= figure.get_figwidth() <= 7
        assert figure.get_figheight() < 6


def test_confusions_count_classes_of_equal_size_apart() -> None:
    """Step profile: images of the frequent half are predicted as class 0, those of the rare half as class 3 or 0."""
    counts = np.array([100, 100, 100, 10, 10, 10])
    confusion = np.zeros((6, 6))
    confusion[:3, 0] = 10
    confusion[3:, 3] = 8
    confusion[3:, 0] = 2
    fractions = _fractions(confusion, counts, [Group("frequent", (0, 1, 2)), Group("rare", (3, 4, 5))])
    assert fractions[0].tolist() == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert fractions[1].tolist() == pytest.approx([0.8 / 3, 0.2, 0, 1.6 / 3])


def test_a_caption_says_that_rows_are_left_out() -> None:
    many = lifelike_setting(methods=14)
    assert len(drawn(many).rows) == 10
    assert many.baseline in drawn(many).rows
    assert caption(many, "groups").endswith("(10 of 14 rows: the best ones, and the baseline)")
    assert caption(many, "counts") == caption(lifelike_setting(), "counts")
    assert "rows" not in caption(lifelike_setting(methods=10), "groups")
