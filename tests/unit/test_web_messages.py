"""The catalogues of the pages: up to date with templates and code, complete, placeholders the same."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from deploy.alerts.rules import RULES as ALERTS
from deploy.web.languages import FOLDER, LANGUAGES, choose, translations
from deploy.web.pages import _environment
from deploy.web.problems import kinds
from deploy.web.words import QUARANTINE
from ingest.quarantine import REASONS
from mrv.day_account import LEFT_OUT
from mrv.meters.rules import MeterRule
from mrv.quality.rules import QualityRule
from mrv.register_rules import Rule
from mrv.tracing.energy import LINE_TEXTS
from mrv.tracing.rules import RULES

WEB = Path(FOLDER).parent
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}|%%|%")
OTHERS = [code for code in LANGUAGES if code != "en"]


def ids(catalog: Catalog) -> set:
    return {message.id for message in catalog if message.id}


@pytest.fixture(scope="module")
def said() -> set:
    """Every message of the templates, and what these take from the code."""
    with (FOLDER / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    return {message for _, _, message, *_ in extract_from_dir(WEB, methods, options)}


@pytest.fixture(scope="module", params=OTHERS)
def catalogue(request: pytest.FixtureRequest) -> Catalog:
    with (FOLDER / f"{request.param}.po").open("rb") as file:
        return read_po(file, locale=request.param)


def test_a_catalogue_has_what_the_templates_say_and_no_more(said: set, catalogue: Catalog) -> None:
    assert len(said) > 400
    assert ids(catalogue) == said, "run `make messages` and fill in what is new"


def test_a_catalogue_is_complete(catalogue: Catalog) -> None:
    assert [message.id for message in catalogue if message.id and not all(forms(message))] == []


def test_what_the_code_says_is_in_every_language(catalogue: Catalog) -> None:
    words = {rule.reason for kind in (Rule, QualityRule, MeterRule) for rule in kind}
    words |= {rule.counts for rule in RULES.values()} | {QUARANTINE[reason] for reason in REASONS}
    words |= {*LEFT_OUT.values(), *LINE_TEXTS.values()}
    words |= {alert.title for alert in ALERTS.values()} | {kind.title() for kind in kinds()}
    assert len(words) > 120
    assert sorted(word for word in words if not ((found := catalogue.get(word)) and found.string)) == []


def test_every_reason_of_quarantine_has_its_words_and_no_other() -> None:
    assert set(QUARANTINE) == set(REASONS)


def test_no_template_shows_what_the_code_says_as_it_is() -> None:
    said = r"(\.explanation|\brule\.counts|\.title\(\)|\bline\.text|left_out_text\([^)]*\))"
    told = re.compile(said + r"(?!\|translated)\s*(?=\}\}| if )")
    for path in (WEB / "templates").rglob("*.html"):
        assert told.findall(path.read_text()) == [], path.name


def test_a_page_says_it_in_its_language_and_escapes_what_no_catalogue_has() -> None:
    japanese = _environment("ja").from_string("{{ one|translated }}")
    assert japanese.render(one=RULES["register.gap@1"].explanation) == (
        "読み値が欠けているが、レジスタは計量を続けており、その間を埋める"
    )
    assert japanese.render(one="<b>of a later version</b>") == "&lt;b&gt;of a later version&lt;/b&gt;"
    assert japanese.render(one="") == ""
    assert "その機器はそこに申告されていない" in _environment("ja").get_template("parts.html").module.meaning(
        "device_unknown"
    )


def test_the_frame_is_in_every_language(catalogue: Catalog) -> None:
    for message in ("Projects", "Sites", "Alerts", "Sign in", "Sign out", "Skip to the content", "revision %(n)s"):
        assert catalogue.get(message).string, message


def test_placeholders_are_the_same(catalogue: Catalog) -> None:
    for message in catalogue:
        given = message.id if isinstance(message.id, tuple) else (message.id,)
        expected = set(PLACEHOLDER.findall(given[-1]))
        for form in forms(message):
            if message.id and form:
                assert set(PLACEHOLDER.findall(form)) == expected, message.id


def test_pages_take_their_words_from_it() -> None:
    japanese = translations("ja")
    assert japanese.gettext("Projects") == "プロジェクト"
    assert japanese.ngettext("%(num)s alert", "%(num)s alerts", 2) == "警報 %(num)s件"
    assert translations("en").gettext("Projects") == "Projects"


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "chosen"),
    [("ja", "th", "en", "ja"), (None, "th", "ja", "th"), (None, None, "ja-JP,ja;q=0.9,en;q=0.8", "ja"),
     ("xx", None, "", "en"), (None, None, "fr", "en")],
)  # fmt: skip
def test_the_language_is_what_is_asked_for_then_kept_then_accepted(asked, kept, accepted, chosen) -> None:
    assert choose(asked, kept, accepted) == chosen


def forms(message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)
