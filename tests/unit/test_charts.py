"""Pictures: valid XML whatever the labels say, axes that reach around what they show, nothing inline."""

import re
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from deploy.web.charts import (
    Band,
    Cell,
    Event,
    Line,
    Row,
    Series,
    Span,
    bars,
    heat,
    key,
    line,
    prefix,
    ticks,
    time_line,
)
from deploy.web.charts.heat import LEVELS, level
from deploy.web.charts.line import segments
from deploy.web.charts.scale import short, written
from deploy.web.charts.svg import thinned
from deploy.web.charts.timeline import axis_days

HOSTILE = '"><script>alert(1)</script><rect x=\'&amp;" onload="y'
FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)
# XML 1.0 knows no control characters; the database and the declarations refuse them before.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


def read(drawn: Markup) -> ET.Element:
    """Parse a picture, and see that nothing in it needs an exception of the content security policy."""
    assert isinstance(drawn, Markup)
    root = ET.fromstring(str(drawn))  # noqa: S314 - drawn just now
    for element in root.iter():
        assert element.tag in {
            "svg", "title", "desc", "defs", "pattern", "g", "path", "circle", "rect", "line", "text", "a", "table",
            "caption", "thead", "tbody", "tr", "th", "td", "span", "ul", "li",
        }  # fmt: skip
        assert not {name for name in element.attrib if name == "style" or name.startswith("on")}
    return root


def of(root: ET.Element, tag: str, css: str = "") -> list[ET.Element]:
    return [one for one in root.iter(tag) if css in one.get("class", "").split() or not css]


def shares(root: ET.Element) -> list[float]:
    found = [value for one in root.iter() for value in one.attrib.values()]
    return [float(value[:-1]) for value in found if re.fullmatch(r"-?[\d.]+%", value)]


class TestTicks:
    @given(FINITE, FINITE, st.integers(3, 12))
    def test_they_are_even_round_few_and_reach_around_both_ends(self, low, high, most):
        found = ticks(low, high, most)
        assert 2 <= len(found) <= most
        assert found[0] <= Decimal(repr(min(low, high)))
        assert found[-1] >= Decimal(repr(max(low, high)))
        step = found[1] - found[0]
        assert all(b - a == step for a, b in pairwise(found))
        assert step.normalize().as_tuple().digits in {(1,), (2,), (5,)}
        assert all(mark % step == 0 for mark in found)

    @given(st.floats(0.001, 1e9))
    def test_the_highest_is_not_far_above(self, high):
        assert float(ticks(0, high)[-1]) <= 2.5 * high

    def test_as_people_write_them(self):
        assert [written(mark) for mark in ticks(0, 812.4)] == ["0", "200", "400", "600", "800", "1,000"]
        assert [written(mark) for mark in ticks(-0.3, 1)] == ["−0.5", "0", "0.5", "1"]
        assert [written(mark) for mark in ticks(0, 0)] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        assert [written(mark) for mark in ticks(7, 7, 5)] == ["0", "2", "4", "6", "8"]

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_what_is_no_number_has_no_axis(self, wrong):
        with pytest.raises(ValueError, match="finite"):
            ticks(0, wrong)


@pytest.mark.parametrize(
    ("values", "sign"),
    [([], ""), ([0], ""), ([999], ""), ([1000], "k"), ([Decimal("6325000004.640"), 1], "G"), ([-2_500_000], "M")],
)
def test_the_multiple_of_the_unit_fits_the_largest(values, sign):
    assert prefix(values).sign == sign


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (17.3288, "17.3"),
        (412.6, "413"),
        (1234.5, "1,234"),
        (0.0456, "0.046"),
        (0.0001, "0"),
        (-3.25, "-3.25"),
    ],
)
def test_a_cell_has_three_digits(value, said):
    assert short(value) == said


@given(st.integers(0, 400), st.integers(1, 12))
def test_what_is_shown_in_a_narrow_plot_is_shown_in_a_wider_one_and_fits(labels, longest):
    found = thinned(labels, longest)
    always, medium, wide = (
        [at for at, shown in enumerate(found) if shown in kept]
        for kept in ({""}, {"", "from-medium"}, {"", "from-medium", "from-wide"})
    )
    assert set(always) <= set(medium) <= set(wide)
    for shown, width in ((always, 260), (medium, 520), (wide, 860)):
        assert len(shown) <= max(1, width // (7 * longest + 10))
        gaps = {b - a for a, b in pairwise(shown)}
        assert len(gaps) <= 1


class TestBars:
    def test_two_systems_stand_on_each_other_with_pattern_title_and_links(self):
        months = ["2021-01", "2021-02", "2021-03"]
        systems = [Series("pv-1", [1.0, 2.0, None]), Series("pv-2", [3.0, 0.0, -1.0])]
        drawn = bars("eg", "Energy", "by month", months, systems, "MWh", links=["a", "b", None])
        root = read(drawn)
        assert root.get("role") == "group"  # within an image no link is told
        assert root.get("aria-labelledby") == "eg-t eg-d"
        assert [of(root, tag)[0].text for tag in ("title", "desc")] == ["Energy", "by month"]
        first, second = of(root, "rect", "f1"), of(root, "rect", "f2")
        assert (len(first), len(second)) == (2, 2)  # neither nothing nor zero is a bar
        assert float(second[0].get("y")) + float(second[0].get("height")) == pytest.approx(
            float(first[0].get("y")), abs=0.2
        )
        zero = next(one for one in of(root, "line", "axis"))
        assert float(second[1].get("y")) == pytest.approx(float(zero.get("y1")), abs=0.2)  # what is negative hangs
        assert sum(one.get("fill") == "url(#eg-p2)" for one in of(root, "rect")) == 2
        assert [one.get("href") for one in of(root, "a")] == ["a", "b"]
        assert "2021-01, pv-2: 3 MWh" in [one.text for one in of(root, "title")]
        assert "MWh" in [one.text for one in of(root, "text")]
        legend = read(key("eg", systems))
        assert ["".join(one.itertext()) for one in of(legend, "li")] == ["pv-1", "pv-2"]

    def test_what_is_negative_hangs_below_zero_whatever_stands_above(self):
        root = read(bars("b", "t", "d", ["a"], [Series("up", [2.0]), Series("down", [-1.0])], "Wh"))
        zero = next(float(one.get("y1")) for one in of(root, "line", "axis"))
        assert float(of(root, "rect", "f2")[0].get("y")) == pytest.approx(zero, abs=0.2)

    def test_every_pattern_that_is_used_is_there(self):
        series = [Series(f"s{n}", [1.0]) for n in range(9)]
        root = read(bars("b", "t", "d", ["a"], series, "Wh"))
        used = {one.get("fill")[5:-1] for one in of(root, "rect") if one.get("fill")}
        assert used == {one.get("id") for one in of(root, "pattern")} == {f"b-p{n}" for n in range(2, 7)}

    @given(st.lists(st.lists(st.one_of(st.none(), FINITE), min_size=3, max_size=3), max_size=8), TEXT)
    def test_whatever_the_values_nothing_leaves_the_plot(self, columns, label):
        systems = [Series(f"{label}{at}", values) for at, values in enumerate(columns)]
        root = read(bars("b", label, label, [label, "b", "c"], systems, "Wh"))
        assert all(0 <= share <= 100 for share in shares(root))
        for one in of(root, "rect"):
            assert float(one.get("height")) >= 0
            assert -0.2 <= float(one.get("y")) <= 210.2

    @pytest.mark.parametrize("count", [0, 1])
    def test_none_and_one_bar(self, count):
        root = read(bars("b", "t", "d", ["2021"] * count, [Series("pv-1", [5.0] * count)], "MWh"))
        assert len(of(root, "rect")) == count

    def test_a_hostile_name_is_text(self):
        systems = [Series(HOSTILE, [1.0])]
        for drawn in (bars("b", HOSTILE, HOSTILE, [HOSTILE], systems, HOSTILE, links=[HOSTILE]), key("b", systems)):
            root = read(drawn)
            assert HOSTILE in "".join(root.itertext())
            assert "<script" not in drawn


class TestHeat:
    def test_every_cell_has_its_number_its_name_and_its_link(self):
        cells = [
            Cell(17.32, "m-1, 3 May: 17.3 MWh, incomplete", "/x?a=1&b=2", flag="!"),
            None,
            Cell(None, "no reading"),
        ]
        root = read(heat("Energy [MWh]", "Device", ["1", "2", "3"], [("pond/m-1", "/d", cells)]))
        links = of(root, "a")
        assert [one.get("href") for one in links] == ["/d", "/x?a=1&b=2"]
        assert links[1].get("aria-label") == "m-1, 3 May: 17.3 MWh, incomplete"
        assert "".join(links[1].itertext()) == "17.3!"
        assert [one.get("scope") for one in of(root, "th")] == ["col"] * 4 + ["row"]
        assert of(root, "caption")[0].text == "Energy [MWh]"
        assert ["".join(one.itertext()) for one in of(root, "td")] == ["17.3!", "", "–"]

    @given(st.floats(0, 1e9), st.floats(0, 1e9))
    def test_more_is_never_paler(self, one, other):
        low, high = sorted((one, other))
        assert 0 <= level(low, 1e9) <= level(high, 1e9) <= LEVELS
        assert level(None, 1e9) == level(0, 1e9) == 0
        assert level(1e9, 1e9) == LEVELS

    def test_a_hostile_name_is_text(self):
        drawn = heat(HOSTILE, HOSTILE, [HOSTILE], [(HOSTILE, HOSTILE, [Cell(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE)])])
        assert "".join(read(drawn).itertext()).count(HOSTILE) == 6


class TestLine:
    def test_it_is_broken_where_nothing_was_measured_and_a_lone_reading_is_a_dot(self):
        points = [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 5.0), (4.0, None), (5.0, 1.0), (6.0, 2.0)]
        assert [len(part) for part in segments(points)] == [2, 1, 2]
        drawn = line("p", "Power", "d", Line(points, area=True), "kW", (0, 6), [(0, "00:00"), (6, "06:00")],
                     bands=[Band(1.5, 3.5, "watch", "gap")])  # fmt: skip
        root = read(drawn)
        paths = of(root, "path", "line")
        assert len(paths) == 3
        assert paths[1].get("d").endswith("h0")
        assert len(of(root, "path", "area")) == 2
        assert all(one.get("vector-effect") == "non-scaling-stroke" for one in paths)
        band = of(root, "rect", "band")[0]
        assert (band.get("x"), band.get("width")) == ("25%", "33.333%")
        assert band[0].text == "gap"

    @given(st.lists(st.tuples(st.floats(0, 86400), st.one_of(st.none(), FINITE)), max_size=20), st.booleans(), TEXT)
    def test_whatever_the_values_nothing_leaves_the_plot(self, points, from_zero, label):
        drawn = line("p", label, label, Line(sorted(points, key=lambda one: one[0]), area=True), label, (0, 86400),
                     [(3600, label)], from_zero=from_zero)  # fmt: skip
        root = read(drawn)
        assert all(0 <= share <= 100 for share in shares(root))
        for path in of(root, "path"):
            numbers = [float(text) for text in re.findall(r"-?[\d.]+", path.get("d").removesuffix("h0"))]
            assert all(-0.2 <= x <= 1000.2 for x in numbers[::2])
            assert all(-0.2 <= y <= 170.2 for y in numbers[1::2])

    def test_what_lies_beyond_the_ends_stays_inside(self):
        drawn = line(
            "p", "t", "d", Line([(-5.0, 1.0), (15.0, 2.0)]), "W", (0, 10), [], bands=[Band(-9, 99, "bad", "x")]
        )
        root = read(drawn)
        assert of(root, "path", "line")[0].get("d").startswith("M0 ")
        assert "L1000 " in of(root, "path", "line")[0].get("d")
        assert (of(root, "rect", "band")[0].get("x"), of(root, "rect", "band")[0].get("width")) == ("0%", "100%")

    def test_a_register_need_not_begin_at_zero(self):
        register = Line([(0.0, 6_000_000.0), (1.0, 6_000_500.0)])
        root = read(line("r", "t", "d", register, "Wh", (0, 1), [], from_zero=False))
        assert "6,000,000" in [one.text for one in of(root, "text")]
        assert "0" not in [one.text for one in of(root, "text")]

    def test_a_hostile_name_is_text(self):
        drawn = line(
            "p", HOSTILE, HOSTILE, Line([]), HOSTILE, (0, 1), [(0, HOSTILE)], bands=[Band(0, 1, "bad", HOSTILE)]
        )
        assert "".join(read(drawn).itertext()).count(HOSTILE) == 5


class TestTimeLine:
    ROWS = (
        Row("m-1", [Span(date(2020, 1, 1), date(2021, 6, 30), "good", "valid"),
                    Span(date(2021, 7, 1), date(2021, 8, 1), "bad", "expired")],
            [Event(date(2021, 8, 2), "calibrated")]),
        Row("m-2", [], [Event(date(2019, 1, 1), "before")]),
    )  # fmt: skip

    def test_spans_are_cut_at_the_ends_and_events_outside_are_not_drawn(self):
        period = Span(date(2021, 1, 1), date(2021, 12, 31), "none", "the period")
        root = read(time_line("c", "t", "d", self.ROWS, date(2021, 1, 1), date(2021, 12, 31), period=period))
        good, bad = of(root, "rect", "good")[0], of(root, "rect", "bad")[0]
        assert (good.get("x"), good.get("width")) == ("0%", f"{181 / 365 * 100:.3f}%")
        assert float(bad.get("x")[:-1]) == pytest.approx(181 / 365 * 100, abs=0.001)
        assert len(of(root, "path", "event")) == 1
        assert of(root, "rect", "period")[0].get("width") == "100%"
        assert [one.text for one in of(root, "text", "strong")] == ["m-1", "m-2"]

    @given(st.dates(date(1950, 1, 1), date(2150, 1, 1)), st.integers(0, 40_000))
    def test_the_axis_has_few_even_marks_inside(self, first, days):
        last = first + timedelta(days=days)
        marks = axis_days(first, last)
        assert len(marks) <= 12
        assert all(first <= mark <= last and mark.day == 1 for mark in marks)
        assert all(0 <= share <= 100 for share in shares(read(time_line("c", "t", "d", self.ROWS, first, last))))

    def test_a_hostile_name_is_text(self):
        day = date(2021, 1, 1)
        rows = [Row(HOSTILE, [Span(day, day, "bad", HOSTILE)], [Event(day, HOSTILE)])]
        drawn = time_line("c", HOSTILE, HOSTILE, rows, day, day, period=Span(day, day, "none", HOSTILE))
        assert "".join(read(drawn).itertext()).count(HOSTILE) == 6
