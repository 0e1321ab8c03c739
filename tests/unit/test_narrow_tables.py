"""What a person copies from a table into the next command stands whole on a terminal of 80 columns."""

import io
from datetime import UTC, datetime

from rich.console import Console, RenderableType

from deploy.alerts.rules import Severity
from deploy.alerts.state import Alert
from deploy.commands.alert import _table
from deploy.commands.status import _site_table
from ingest.health import DeviceHealth, SiteHealth

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def shown(table: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    return out.getvalue()


def test_a_rule_is_not_folded_beside_who_sees_to_it() -> None:
    alert = Alert(
        2, "quarantine_rising", "s1", "P", "s1", Severity.WARNING, "13 entries in quarantine in 60 min from s1",
        NOW, NOW, NOW, NOW, None, None, "root", NOW, None, "root", NOW, NOW,
    )  # fmt: skip
    assert "  quarantine_rising  " in shown(_table([alert]))


def test_of_a_long_device_nothing_is_left_out() -> None:
    name = "inverter-of-the-north-eastern-roof-of-the-second-hall"
    device = DeviceHealth("s1", name, "inverter", NOW, NOW, 0.0)
    said = shown(_site_table(SiteHealth("s1", [device]), NOW))
    assert "…" not in said
    assert "".join(line.split(" ")[0] for line in said.splitlines()).removeprefix("s1Device") == name
