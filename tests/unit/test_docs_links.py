"""Links, anchors and images of every page lead somewhere, and what the code calls a page is one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
_MOST_BYTES = 150_000
_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_NAMED = re.compile(r"docs/(?:[a-z]+\.md|images/[\w-]+\.png)(?:#[\w-]+)?")


def prose(page: Path) -> str:
    return _CODE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {f"{slug}-{again}" if again else slug for slug, times in found.items() for again in range(times + 1)}


def wrong(page: Path, link: str) -> bool:
    """Whether a link from a page leads nowhere."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(prose(page)) if "://" not in link]
    assert [link for link in links if wrong(page, link)] == []


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(ROOT / "README.md"))}
    assert {page.name for page in PAGES} - {page.name for page in linked} == {"README.md"}


def test_what_the_code_says_is_told_in_a_page_is() -> None:
    named = {
        (path.relative_to(ROOT), link)
        for room in ("deploy", "devices", "ingest", "mrv", "sql", "tests")
        for kind in ("py", "toml", "yaml", "yml", "conf", "sh", "sql", "json", "html")
        for path in (ROOT / room).rglob(f"*.{kind}")
        if path != Path(__file__)
        for link in _NAMED.findall(path.read_text(encoding="utf-8"))
    }
    assert named
    assert [(str(path), link) for path, link in sorted(named) if wrong(ROOT / "README.md", link)] == []


def test_pictures_are_shown_and_small() -> None:
    pictures = {path.resolve() for path in (DOCS / "images").iterdir()}
    shown = {
        (page.parent / link).resolve() for page in PAGES for link in _LINK.findall(prose(page)) if link.endswith(".png")
    }
    assert pictures == shown
    assert {path.name for path in pictures if path.stat().st_size > _MOST_BYTES} == set()


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## `[address]`, each key", "address-each-key"),
        ("### site_silent", "site_silent"),
        ("# A family of one's own", "a-family-of-ones-own"),
        ("## One\n## One", "one-1"),
    ],
)
def test_anchors_are_those_of_the_pages_host(tmp_path: Path, heading: str, anchor: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```sh\n# no heading\n```\n{heading}\n", encoding="utf-8")
    assert anchor in anchors(page)
    assert "no-heading" not in anchors(page)
    assert wrong(page, "#no-heading")
    assert not wrong(page, f"page.md#{anchor}")
