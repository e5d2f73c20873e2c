"""Figures: contents, layout, colours and literal names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.report_records import METHODS, cifar, dataset, keep_logits, lifelike, lifelike_setting, record
from ltbench.benchmarks.errors import printable
from ltbench.report.figures import caption, few_rows, figures, line_rows, main_rows, variants
from ltbench.report.figures.bars import _fractions, group_bars
from ltbench.report.figures.classes import class_counts, class_differences, class_lines, moving_mean
from ltbench.report.figures.curves import cost_scatter
from ltbench.report.figures.pictures import batch_picture
from ltbench.report.figures.style import light, look, save, spread_out
from ltbench.report.groups import Group
from ltbench.report.logits import read_scores
from ltbench.report.statistics import Options, settings
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def test_an_empty_group_is_left_out() -> None:
    setting = lifelike_setting()
    figure = group_bars(setting, setting.shots)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["overall\n(10)", "many\n(8)", "medium\n(2)"]
    assert [len(axes.containers) for axes in figure.axes] == [3, 3, 3]
    for axes, name in zip(figure.axes[1:], ("many", "medium"), strict=True):
        shown = [float(points[0].get_xdata()[0]) for points in axes.containers]  # type: ignore[index]
        assert shown == pytest.approx([100 * s.mean for row in setting.rows if (s := row.groups[name])])
    assert [text.get_text() for text in class_counts(setting).legends[0].get_texts()] == ["many (8)", "medium (2)"]


def test_class_counts_have_a_log_axis_from_ratio_10() -> None:
    runs = [record(dataset(counts), [50, 50, 50]) for counts in ([300, 100, 30], [300, 100, 31])]
    assert [class_counts(settings([r])[0]).axes[0].get_yscale() for r in runs] == ["log", "linear"]


def test_a_balanced_small_set_still_shows_its_counts() -> None:
    setting = settings([record(dataset([50, 50, 50, 50, 50]), [10, 20, 30, 40, 50])])[0]
    (axes,) = class_counts(setting).axes
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["all (5)"]
    assert group_bars(setting, setting.parts) is None


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


def overlapping(boxes: list[Bbox]) -> list[tuple[int, int]]:
    """Index pairs of boxes that overlap by more than one pixel."""
    return [
        (i, k) for k in range(len(boxes)) for i in range(k) if boxes[i].padded(-0.5).overlaps(boxes[k].padded(-0.5))
    ]


THIRTY = pytest.param(10, 30, marks=pytest.mark.slow)


@pytest.mark.parametrize(("classes", "methods"), [(10, 1), (10, 3), (100, 12), THIRTY])
def test_names_stand_apart_and_figures_fit_a_page(classes: int, methods: int, tmp_path: Path) -> None:
    setting = lifelike_setting(classes, methods=methods)
    keep_logits(setting.runs if classes == 10 else [], tmp_path)
    for name, figure in figures(setting, read_scores(setting.runs, tmp_path)[0]).items():
        figure.draw_without_rendering()
        texts = [Text.get_window_extent(text) for axes in figure.axes for text in axes.texts]  # without leader lines
        assert not overlapping(texts), name
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                ticks = [
                    tick.label1
                    for tick in axis.get_major_ticks()
                    if tick.label1.get_text() and tick.label1.get_visible()
                ]
                turned = any(tick.get_rotation() for tick in ticks)
                assert turned or not overlapping([tick.get_window_extent() for tick in ticks]), name
        for text in texts:
            assert text.x0 >= -1, name
            assert text.x1 <= figure.bbox.x1 + 1, name
            assert -1 <= text.y0 <= text.y1 <= figure.bbox.y1 + 1, name
        legends = [legend.get_window_extent() for legend in figure.legends]
        assert all(legend.y0 >= axes.get_window_extent().y1 for legend in legends for axes in figure.axes), name
        assert all(legend.height < figure.bbox.height / 5 for legend in legends), name
        assert 3.4 <= figure.get_figwidth() <= 7, name
        assert figure.get_figheight() < 9, name


def test_accuracy_ends_at_100_and_noise_does_not_fill_the_axis() -> None:
    setting = lifelike_setting(methods=3)
    for name, figure in figures(setting, {}).items():
        for axes in figure.axes:
            for label, (low, high) in ((axes.get_ylabel(), axes.get_ylim()), (axes.get_xlabel(), axes.get_xlim())):
                if "accuracy (%)" in label:
                    assert high == 100, name
                    assert low <= 60, name
    close = settings([record(dataset([50, 40, 30]), [98, 98, 98 + k % 2], m) for k, m in enumerate(("erm", "drw"))])[0]
    assert cost_scatter(close).axes[0].get_ylim() == (60, 100)
    figure = class_differences(close)
    assert figure is not None
    assert figure.axes[0].images[0].get_clim() == (-10, 10)


def test_differences_are_those_of_the_shared_seeds() -> None:
    data = dataset([50, 200, 10])
    runs = [record(data, [50, 90, 10], seed=0), record(data, [10, 10, 10], seed=1), record(data, [60, 80, 30], "drw")]
    figure = class_differences(settings(runs)[0])
    assert figure is not None
    assert figure.axes[0].images[0].get_array().tolist() == [pytest.approx([-10, 10, 20])]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["drw [1\N{NO-BREAK SPACE}seed]"]
    assert class_differences(settings(runs[:2])[0]) is None
    assert class_differences(settings(runs[2:])[0]) is None


def test_labels_move_as_little_as_needed() -> None:
    assert spread_out([0.2, 0.8], [0.1, 0.1]).tolist() == pytest.approx([0.2, 0.8])
    assert spread_out([0.5, 0.5, 0.5], [0.1, 0.1, 0.1]).tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert spread_out([1, 1], [0.2, 0.2]).tolist() == pytest.approx([0.8, 1.0])
    assert spread_out([0, 0], [0.2, 0.2]).tolist() == pytest.approx([0, 0.2])


def test_a_method_has_one_colour_in_all_figures_of_a_report() -> None:
    runs = [lifelike(cifar(10, ratio), m, 0, lift) for ratio, *pairs in (
        (10, ("erm", 0), ("a", 0.1), ("b", 0.2), ("c", 0.3)), (100, ("erm", 0), ("a", 0.3), ("b", 0.2))
    ) for m, lift in pairs]  # fmt: skip
    runs.append(lifelike(cifar(10, 100), "a", 0, 0.1, changed={"x": 1}))
    first, second = settings(runs)
    colours = [
        {row.label: look(s, row)["color"] for row in kind(s).rows}
        for s in (first, second)
        for kind in (main_rows, few_rows, variants)
    ]
    for name in ("erm", "a", "b", "c"):
        assert len({of_one[name] for of_one in colours if name in of_one}) == 1, name
    assert colours[5]["a (x=1)"] == colours[0]["a"]
    assert len(set(colours[0].values())) == 4


def test_variants_have_a_figure_of_their_own() -> None:
    data = cifar(10, 100)
    runs = [lifelike(data, m, 0, lift) for m, lift in METHODS.items()]
    runs += [lifelike(data, "ldam-drw", 0, 0.3, changed={"scale": s}) for s in (10, 20)]
    (setting,) = settings(runs)
    assert "ablations" not in figures(settings(runs[:3])[0], {})
    assert {row.label for row in main_rows(setting).rows} == set(METHODS)
    assert {row.label for row in variants(setting).rows} == {"ldam-drw", "ldam-drw (scale=10)", "ldam-drw (scale=20)"}
    assert caption(setting, "shots").endswith("(variants have a figure of their own)")
    (only,) = settings(runs[3:])
    assert len(main_rows(only).rows) == 1, "without the plain row, the best variant represents the method"


HOSTILE = ["$x_1$", "a_b", "100%", "\\alpha", "$\\frac$", "_x", "\x1b[31m\n", "\u202e", "^{", "$"]


def test_names_are_drawn_literally(tmp_path: Path) -> None:
    data = cifar(10, 100, class_names=HOSTILE)
    runs = [lifelike(data, m, 0, 0.1) for m in ("erm", *HOSTILE)]
    runs += [lifelike(data, "erm", 0, 0.1, changed={name: name}) for name in HOSTILE]
    (setting,) = settings(runs, Options(baseline="$x_1$"))
    for name, figure in figures(setting, {}).items():
        written = light(figure)
        ElementTree.fromstring(written)  # control characters are not valid XML
        save(figure, "png")
        if name in ("classes", "counts", "differences"):
            text = "".join(ElementTree.fromstring(written).itertext())
            assert all(printable(word) in text for word in HOSTILE), name


def test_a_batch_s_classes_are_drawn_literally() -> None:
    labels = np.arange(len(HOSTILE))
    images, none = np.full((len(labels), 3, 4, 4), 0.5, np.float32), np.zeros(0, int)
    view = SimpleNamespace(
        pixels=images, normalised=images, labels=labels, second_labels=labels, synthetic=labels > 5, sources=none,
        source_labels=none, towards=none, class_counts=labels + 1, synthetic_counts=labels,
    )  # fmt: skip
    ElementTree.fromstring(batch_picture("\x1b$x_1$", HOSTILE, view, "svg"))
    assert batch_picture("\x1b$x_1$", HOSTILE, view, "png").startswith(b"\x89PNG")


def test_confusions_count_classes_of_equal_size_apart() -> None:
    """For a step profile, predictions of another class of equal size are counted separately.

    Images of the frequent half are predicted as class 0, images of the rare half as class 3 or 0.
    """
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
    assert len(few_rows(many).rows) == 10
    assert many.baseline in few_rows(many).rows
    assert caption(many, "priors").endswith("(10 of 14 rows: the best ones of each family, and the baseline)")
    shown = len(line_rows(many).rows)
    assert 10 < shown < 14
    assert caption(many, "training").endswith(f"({shown} of 14 rows: the best ones of each family, and the baseline)")
    assert caption(many, "counts") == caption(lifelike_setting(), "counts")
    assert "rows" not in caption(lifelike_setting(methods=8), "training")
    assert "rows" not in caption(many, "groups")
    assert caption(lifelike_setting(methods=50), "groups").endswith("(40 of 50 rows: the best ones, and the baseline)")
