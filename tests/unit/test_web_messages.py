"""The catalogues of the pages: up to date with the templates, Japanese complete, placeholders the same."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from deploy.web.languages import FOLDER, LANGUAGES, choose, translations

WEB = Path(FOLDER).parent
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%|%")
OTHERS = [code for code in LANGUAGES if code != "en"]


def ids(catalog: Catalog) -> set:
    return {message.id for message in catalog if message.id}


@pytest.fixture(scope="module")
def said() -> set:
    """Every message of the templates."""
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


def test_japanese_is_complete() -> None:
    with (FOLDER / "ja.po").open("rb") as file:
        empty = [message.id for message in read_po(file, locale="ja") if message.id and not all(forms(message))]
    assert empty == []


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
