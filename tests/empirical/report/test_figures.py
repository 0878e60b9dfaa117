"""Figures and colours of the report: they show the numbers, and everyone can tell them apart."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from empirical.analysis.claims import CONTEXTS, FINETUNING, MODELS
from empirical.analysis.comparisons import compare
from empirical.core.undefined import Undefined
from empirical.report.figures import (
    attention,
    dose,
    lambda_by_layer,
    orders,
    per_layer,
    rates,
    strongest_controls,
    weight_changes,
)
from empirical.report.figures import heatmap as heat
from empirical.report.render import drawing
from empirical.report.render.drawing import Figure, Panel, panel_svg, save
from empirical.report.render.palette import COLOURS, STYLES
from empirical.report.render.svg import swatch, themed
from empirical.report.results import Results, findings, read_results
from empirical.report.tables.pooling import curve
from empirical.results.control_results import BASE, ConditionResult
from tests.support.results.report import full_folder

CSS = files("empirical.report.render").joinpath("style.css").read_text(encoding="utf-8")
WORDS = ("ink", "muted", "link", "yes", "no", "open")  # text, on paper and on raised panels
LINES = tuple(k for k in COLOURS if k.startswith("series-"))


def properties(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def themes() -> Mapping[str, dict[str, str]]:
    """The colours of every theme; what a theme does not set is as in the light one."""
    blocks = re.findall(r":root \{(.*?)\n\s*\}", CSS, re.DOTALL)
    light, dark, print_ = map(properties, blocks)
    return {"light": light, "dark": light | dark, "print": light | print_}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def mixed(above: str, below: str, opacity: float) -> str:
    parts = [
        round(opacity * int(above[i : i + 2], 16) + (1 - opacity) * int(below[i : i + 2], 16))
        for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{x:02x}" for x in parts)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == 21
    assert contrast("#777777", "#ffffff") < 4.5 < contrast("#767676", "#ffffff")  # WCAG's example


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_words_and_lines_stand_out_in_every_theme(theme: str) -> None:
    colours = themes()[theme]
    for ground in ("paper", "raised"):
        for name in (*WORDS, *LINES):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_numbers_stand_out_on_the_strongest_cell(theme: str) -> None:
    colours = themes()[theme]
    for style in STYLES[:2]:
        name = next(k for k, v in COLOURS.items() if v == style.colour)
        cell = mixed(colours[name], colours["paper"], heat.opacity(1.0, 1.0))
        assert contrast(colours["ink"], cell) >= 4.5, name


def test_figures_have_the_colours_of_the_light_theme() -> None:
    light = themes()["light"]
    assert {k: light[k] for k in COLOURS} == COLOURS
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert not set(themes()["dark"][k] for k in LINES) & set(COLOURS.values())


def test_series_differ_in_marker_and_line_not_in_colour_alone() -> None:
    for one, two in combinations(STYLES, 2):
        assert one.marker != two.marker and one.dash != two.dash
    for style in STYLES:
        piece = ET.fromstring(swatch(style.colour, style.marker, style.dash, style.filled))
        assert len(piece) == 2 and piece.attrib["aria-hidden"] == "true"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("figures")
    return read_results(full_folder(folder, seeds=(1, 2), tasks=("sst2", "cb")))


COUNTED = r"n = ((500|100) examples|8 queries) per task; 2 seeds \(1, 2\)\.$"


def every_figure(results: Results) -> list[Figure]:
    found = [per_layer.figure(results, against) for against in per_layer.CURVES]
    found += [lambda_by_layer.figure(results), orders.figure(results), *rates.figures(results)]
    found += [weight_changes.summary_figure(results), weight_changes.heads_figure(results)]
    found += [
        *dose.figures(results),
        *strongest_controls.figures(results, compare(results.evidence)),
    ]
    assert all(f is not None for f in found)
    return [f for f in found if f is not None]


def test_every_caption_says_what_on_which_model_data_n_and_seeds(results: Results) -> None:
    for figure in every_figure(results):
        assert "Model embedded; data generated; " in figure.caption, figure.id
        assert re.search(COUNTED, figure.caption), figure.id
        assert all(len(p.text) > 20 and p.title for p in figure.panels)


def test_files_have_colours_of_the_theme_alone_and_no_date(results: Results, tmp_path: Path):
    figure = per_layer.figure(results, per_layer.CURVES[0])
    assert figure is not None
    svg, pdf = save(figure, tmp_path)
    text = svg.read_text()
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= set(COLOURS.values())
    assert "<dc:date>" not in text and b"CreationDate" not in pdf.read_bytes()
    assert pdf.read_bytes().startswith(b"%PDF-") and figure.panels[0].title in text


def test_inline_figures_name_no_colour_and_share_no_identifier(results: Results) -> None:
    figure = orders.figure(results)
    assert figure is not None
    one, two = (
        themed(panel_svg(p, figure.size), f"f{i}", p.title, p.text)
        for i, p in enumerate(figure.panels)
    )
    for text in (one, two):
        root = ET.fromstring(text)
        assert not re.search(r"#[0-9a-f]{6}\b", text) and "var(--series-1)" in text
        assert "<style" not in text and "metadata" not in text and "DejaVu" not in text
        assert root.attrib["role"] == "img" and [x.tag for x in root][:2] == ["title", "desc"]
        links = {x[1:] for x in re.findall(r'href="(#[^"]+)"', text)}
        links |= set(re.findall(r"url\(#([^)]+)\)", text))
        names = re.findall(r' id="([^"]+)"', text)
        assert links <= set(names) and len(names) == len(set(names))
    assert not set(re.findall(r' id="([^"]+)"', one)) & set(re.findall(r' id="([^"]+)"', two))


def test_a_colour_outside_the_theme_would_be_seen() -> None:
    panel = Panel(title="x", text="y", draw=lambda axis: axis.plot([0, 1], color="#123456"))
    assert "#123456" in themed(panel_svg(panel, (2, 2)), "n", "t", "d")


def drawn(panel: Panel) -> Canvas:
    with drawing.settings():
        canvas = Canvas()
        panel.draw(canvas.subplots())
    return canvas


def test_a_curve_is_the_mean_of_the_seeds_and_its_band_their_outermost_ends(
    results: Results,
) -> None:
    figure = per_layer.figure(results, per_layer.CURVES[0])
    assert figure is not None
    (axis,) = drawn(figure.panels[0]).axes
    seeds = results.evidence_of("embedded", "sst2")
    expected = [
        sum(e.findings[BASE].series["sim_aou"].per_layer[i] for e in seeds) / 2 for i in range(4)
    ]
    bold = max(axis.lines, key=lambda x: x.get_linewidth())
    np.testing.assert_array_equal(bold.get_ydata(), expected)
    found = curve(findings(seeds, BASE), "sim_aou")
    assert found is not None
    for i in range(4):
        each = [e.findings[BASE].series["sim_aou"] for e in seeds]
        assert found.low[i] == min(s.low[i] for s in each) < found.mean[i]
        assert found.high[i] == max(s.high[i] for s in each) > found.mean[i]


def test_the_grey_band_reaches_from_the_lowest_to_the_highest_control(results: Results) -> None:
    against = per_layer.CURVES[0]
    figure = per_layer.figure(results, against)
    assert figure is not None
    (axis,) = drawn(figure.panels[0]).axes
    band = axis.collections[0].get_paths()[0].vertices
    seeds = results.evidence_of("embedded", "sst2")
    for layer in range(4):
        ends = [
            (e.findings[f].series[s].low[layer], e.findings[f].series[s].high[layer])
            for e in seeds
            for f, s in against.nulls
        ]
        at = band[band[:, 0] == layer][:, 1]
        assert at.min() == min(low for low, _ in ends)
        assert at.max() == max(high for _, high in ends)


def test_a_layer_without_a_value_leaves_a_gap_and_no_zero() -> None:
    gone = Undefined("a vector of the cosine is zero")
    one = full_series((0.5, gone))
    two = full_series((0.25, gone))
    found = curve([ConditionResult(series={"m": one}), ConditionResult(series={"m": two})], "m")
    assert found is not None and found.mean[0] == 0.375 and math.isnan(found.mean[1])
    assert curve([ConditionResult()], "m") is None


def full_series(per_layer):  # type: ignore[no-untyped-def] # a short stand-in of a Series
    from empirical.results.control_results import Series

    return Series(values=np.zeros(1, dtype=np.float32), per_layer=per_layer, low=per_layer,
                  high=per_layer, mean=0.5, excluded=0, total=2)  # fmt: skip


def test_lambda_is_that_of_the_checks(results: Results) -> None:
    document = next(d for d in results.checks if d["task"] == "cb")
    found = lambda_by_layer.shares(document)
    for i, layer in enumerate(document["layers"]):
        heads = [h["demonstrations"] for h in layer["heads"]]
        # Of one query, a head's mean is its value; three roundings at most apart.
        assert abs(found.mean[i] - math.fsum(heads) / len(heads)) <= 3 * np.spacing(1.0)
        assert (found.low[i], found.high[i]) == (min(heads), max(heads))


def test_rates_are_over_the_chosen_one_and_divergence_leaves_a_gap(results: Results) -> None:
    seeds = results.evidence_of("embedded", "sst2")
    found = rates.points(seeds, "ft_accuracy")
    assert [x for x, _ in found] == [0.1, 0.3, 1.0, 3.0, 10.0]
    assert [y for _, y in found][:4] == [60.0, 70.0, 80.0, 75.0] and math.isnan(found[4][1])


def test_orders_show_every_accuracy_and_the_spread_of_both(results: Results) -> None:
    seeds = results.evidence_of("embedded", "cb")
    row = orders.row("cb", findings(seeds, "order"))
    for side in ("icl", "ft"):
        listed = [x for e in seeds for x in e.findings["order"].tables[f"{side}_accuracy"]]
        assert list(row.accuracy[side]) == listed and len(listed) == 20
        mean, low, high = row.spread[side]
        assert low < mean < high
    assert row.spread["icl"] != row.spread["ft"]


def test_zero_has_no_sign_and_minus_is_a_minus() -> None:
    assert [heat.signed(x, 2) for x in (-0.001, 0.0, -0.25, 0.5)] == [
        "0.00",
        "0.00",
        "−0.25",
        "0.50",
    ]


def slow_outside(found: list[ConditionResult], i: int, j: int) -> bool:
    """One head, seed by seed."""
    sides = []
    for f in found:
        value, low, high = (
            f.tables[k][i][j] for k in ("cosine", "cosine_null_low", "cosine_null_high")
        )
        if any(isinstance(x, Undefined) for x in (value, low, high)):
            return False
        sides.append(1 if value > high else -1 if value < low else 0)
    return sides in ([1] * len(found), [-1] * len(found))


def test_framed_are_heads_outside_their_band_on_one_side_in_every_seed(results: Results) -> None:
    def finding(*cosines: object) -> ConditionResult:
        ends = {"cosine_null_low": [[-0.5] * 5], "cosine_null_high": [[0.5] * 5]}
        return ConditionResult(tables={"cosine": [list(cosines)], **ends})

    gone = Undefined("unmoved")
    found = [finding(0.75, -0.75, 0.75, 0.25, 0.75), finding(0.75, -0.75, -0.75, 0.75, gone)]
    assert weight_changes.outside(found) == ((True, True, False, False, False),)
    real = list(findings(results.evidence_of("embedded", "cb"), "delta_w"))
    expected = [[slow_outside(real, i, j) for j in range(4)] for i in range(4)]
    assert [list(row) for row in weight_changes.outside(real)] == expected
    assert weight_changes.mean_table(found, "cosine")[0][:2] == (0.75, -0.75)
    assert weight_changes.mean_table(found, "cosine")[0][4] == 0.75  # of the seed that has one


def test_lambda_of_evidence_is_the_mean_over_seeds_then_heads(results: Results) -> None:
    found = findings(results.evidence_of("embedded", "cb"), "delta_w")
    one = lambda_by_layer.of_findings("embedded", "cb", found)
    for i in range(4):
        heads = [sum(f.tables["lambda"][i][j] for f in found) / 2 for j in range(4)]
        assert (one.low[i], one.high[i]) == (min(heads), max(heads))
        assert one.mean[i] == math.fsum(heads) / 4


def test_a_measured_value_stands_where_its_curve_reads_the_same(results: Results) -> None:
    seeds = results.evidence_of("embedded", "sst2")
    line = dose.line(seeds, "sim_aou")
    assert line is not None
    base = [e.findings[BASE].series["sim_aou"].mean for e in seeds]
    assert line.measured == math.fsum(base) / 2
    at = np.interp(line.at, line.doses, line.reading)
    assert abs(at - line.measured) < 4 * np.spacing(1.0)  # one interpolation there, one back
    assert dose.line(seeds, "rec2ftp") is None


def test_a_value_below_its_curve_stands_at_dose_zero(results: Results) -> None:
    seeds = [
        replace(e, findings={**e.findings, "dose": ConditionResult(tables={"dose": [0.0, 1.0],
                                                                   "sim_aou": [0.9, 1.0]})})
        for e in results.evidence_of("embedded", "sst2")
    ]  # fmt: skip
    line = dose.line(seeds, "sim_aou")
    assert line is not None and line.at == 0.0 and line.measured < 0.9


def test_an_attention_map_shows_every_weight_in_its_row(results: Results) -> None:
    (cell, _) = results.evidence_of("embedded", "cb")
    tables = cell.findings["attention_maps"].tables
    for i, head in enumerate(attention.heads(tables)):
        assert head.own == tuple(tuple(tables[k][i]) for k in ("zsl", "ft", "icl"))
        for row, extra in zip(head.own, (0.0, 0.0, sum(head.demonstrations)), strict=True):
            mass = sum(row) + head.bos[head.own.index(row)] + extra
            assert abs(mass - 1) < 64 * np.spacing(1.0)  # of at most 64 weights, each rounded once
        top = max(*head.bos, *head.demonstrations, *(x for row in head.own for x in row))
        assert attention.largest(head) == top
        (axis,) = drawn(Panel(title="", text="", draw=partial(attention.draw, found=head))).axes
        cells = [p for p in axis.patches if p.get_alpha() is not None]
        assert max(p.get_alpha() for p in cells) == 1.0
        seen = sum(x > 0.01 * top for row in head.own for x in row)
        seen += sum(x > 0.01 * top for x in (*head.bos, *head.demonstrations))
        assert len(cells) == seen


def test_a_control_that_is_set_aside_is_not_shown(results: Results) -> None:
    own = [c for c in compare(results.evidence).of("embedded", "sim_aou") if c.task == "cb"]
    name = strongest_controls.row("cb", own).controls["context"].name
    aside = [
        replace(c, set_aside="it has nothing to beat") if c.control == name else c for c in own
    ]
    left = strongest_controls.row("cb", aside)
    assert left.controls["context"].name != name
    assert left.ours == strongest_controls.row("cb", own).ours


def test_the_strongest_control_of_every_kind_is_shown(results: Results) -> None:
    compared = compare(results.evidence)
    own = [c for c in compared.of("embedded", "sim_aou") if c.task == "cb"]
    row = strongest_controls.row("cb", own)
    for kind, members in (("finetuning", FINETUNING), ("context", CONTEXTS), ("model", MODELS)):
        known = [c for c in own if c.control in members]
        best = max(known, key=lambda c: c.theirs.value)
        assert row.controls[kind].name == best.control
        assert row.controls[kind].value == best.theirs.value
    assert row.ours is not None and row.ours.value == own[0].ours.value
    assert "layer_causal" not in {m.name for m in row.controls.values()}  # need not be beaten
    gain = [c for c in compared.of("embedded", "sim_am_gain") if c.task == "cb"]
    assert "line" not in strongest_controls.row("cb", gain).controls
    for figure in strongest_controls.figures(results, compared):
        assert len(figure.panels) == len(strongest_controls.METRICS)
        (axis,) = drawn(figure.panels[2]).axes
        dots = [x.get_xdata()[0] for x in axis.lines if x.get_marker() != "None"]
        assert any(x == row.ours.value for x in dots)


SHADES = [(0.5, 1.0, 0.25), (-2.0, 1.0, 0.5), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]


@pytest.mark.parametrize(("value", "largest", "expected"), SHADES)
def test_shades_follow_the_size(value: float, largest: float, expected: float) -> None:
    assert heat.opacity(value, largest) == expected
