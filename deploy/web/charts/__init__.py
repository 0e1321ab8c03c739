"""Pictures for pages: pure functions from data to SVG (and one HTML table, the heat map).

They are drawn by the server, here, and not by a charting script in the browser: plotly's bundle is 4.6 MB where
a year's bars are 6 kB; a page without JavaScript shows them, prints them, and gives them the page's own colours in
light and dark; and the content security policy needs no exception, because nothing carries an inline style or script.
What a library would add, zooming and panning, the pages have as links one level down.

Heights are pixels and widths are shares of whatever room there is, so text keeps its size from 360 to 1200 pixels; the
labels that no longer fit are left out by the style sheet. No colour says anything alone: series have patterns, states
have words, cells have numbers. Beside every picture stands a table with the exact numbers; a picture is rounded.
"""

from deploy.web.charts.bars import Series, bars, key
from deploy.web.charts.heat import Cell, heat
from deploy.web.charts.line import Band, Line, line
from deploy.web.charts.scale import Prefix, prefix, ticks
from deploy.web.charts.timeline import Event, Row, Span, time_line

__all__ = [
    "Band", "Cell", "Event", "Line", "Prefix", "Row", "Series", "Span", "bars", "heat", "key", "line", "prefix",
    "ticks", "time_line",
]  # fmt: skip
