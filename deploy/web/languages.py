"""The pages' languages: English as it is written in the templates, the others from message catalogues.

Catalogues are GNU gettext's `.po` files under `locale/`, read as they are; `make messages` brings them up to date with
the templates and with the words that these take from the code (`words.py`). What no catalogue has is shown in English.
"""

from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = {"en": "English", "ja": "日本語", "th": "ไทย"}
"""By code, each named in itself."""
FOLDER = Path(__file__).parent / "locale"
COOKIE = "jcm_mrv_language"


@cache
def translations(language: str) -> NullTranslations:
    """Read the catalogue of a language."""
    path = FOLDER / f"{language}.po"
    if not path.exists():
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return GNUTranslations(compiled)


def translated(language: str, text: str) -> str:
    """Say in a language what the code says in English."""
    return translations(language).gettext(text) if text else ""  # a catalogue's empty message is its own header


def choose(asked: str | None, kept: str | None, accepted: str) -> str:
    """Choose the language of a page: what is asked for now, what was chosen before, what the browser accepts."""
    for given in (asked, kept):
        if given in LANGUAGES:
            return given
    preferred = [part.partition(";")[0].strip().replace("-", "_") for part in accepted.split(",")]
    found = negotiate_locale([one for one in preferred if one], list(LANGUAGES))
    return Locale.parse(found).language if found else "en"
