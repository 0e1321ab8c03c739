"""The page: the same facts, nothing fetched, nothing run, whatever a device is called."""

from dataclasses import replace
from html.parser import HTMLParser

from mrv.reports import render

VOID = {"meta", "br"}
EVIL = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """Checks that elements nest, and collects them with their text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data.strip())

    @property
    def tags(self):
        return {tag for tag, _ in self.seen}


def test_says_the_tonnes_by_year_and_the_exact_energy(two_years, declaration):
    page = Page(render(two_years, declaration, "html"))
    for text in ("2,730 tCO2", "557", "2,173", "1,581.250001", "6,325.000000", "0.533", "unconfirmed default",
                 "KWH-778", "register.gap@1 × 2", "28/Sep/2020-31/Dec/2020", two_years.inputs_digest):  # fmt: skip
        assert text in page.texts, text


def test_every_table_has_a_caption_and_scoped_headers(two_years, declaration):
    page = Page(render(two_years, declaration, "html"))
    tables = sum(tag == "table" for tag, _ in page.seen)
    assert tables == sum(tag == "caption" for tag, _ in page.seen) == 4
    assert all(attrs.get("scope") in {"row", "col"} for tag, attrs in page.seen if tag == "th")


def test_fetches_and_runs_nothing(two_years, declaration):
    page = Page(render(two_years, declaration, "html"))
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not any({"src", "href", "onclick", "onload"} & attrs.keys() for _, attrs in page.seen)
    assert b"url(" not in render(two_years, declaration, "html")


def test_escapes_every_text_that_came_from_outside(two_years, declaration, a_device):
    device = replace(a_device(EVIL, 1, kind=EVIL, serial_number=EVIL), rules={EVIL: 1})
    factor = replace(two_years.systems[1].factor, source=EVIL)
    system = replace(two_years.systems[0], id=EVIL, site=EVIL, connection=EVIL, devices=(device,), factor=factor)
    result = replace(
        two_years, project=EVIL, title=EVIL, host_country=EVIL, methodology=EVIL, methodology_title=EVIL,
        systems=(system,), rules={EVIL: 1}, notes=(EVIL,), code_version=EVIL, inputs_digest=EVIL,
    )  # fmt: skip
    page = Page(render(result, declaration, "html"))
    assert "script" not in page.tags
    assert page.texts.count(EVIL) >= 10


def test_says_that_a_draft_is_one(two_years, declaration):
    draft = replace(two_years, revision=0, received_until=None)
    assert "Draft: this period is not frozen." in Page(render(draft, declaration, "html")).texts
    assert "Draft: this period is not frozen." not in Page(render(two_years, declaration, "html")).texts
