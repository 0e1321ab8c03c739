"""The statement, keys, shares and findings' references, without a database."""

import hashlib
import json
import subprocess
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mrv.basis import canonical_text
from mrv.errors import WrongUseError
from mrv.result import Factor, PeriodResult, SystemResult, SystemYear, Vintage
from mrv.verification import keys, statement
from mrv.verification.errors import SignatureError, VerifierKeyError
from mrv.verification.findings import About
from mrv.verification.notification import Share

PEM, RAW = serialization.Encoding.PEM, serialization.Encoding.Raw
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PRIVATE = serialization.PrivateFormat.PKCS8


def result(title: str = "t", er_tco2: int = 2017) -> str:
    system = SystemResult(
        id="pv-1",
        site="pond",
        connection="grid",
        capacity_kw=Decimal(5000),
        factor=Factor(Decimal("0.319"), "PDD", confirmed=True),
        years=(SystemYear(2021, Decimal("6325.000000"), Decimal("2017.675000")),),
        devices=(),
    )
    days = date(2021, 1, 1), date(2021, 12, 31)
    numbers = {"eg_mwh": Decimal("6325.000000"), "re_tco2": Decimal("2017.675000"), "pe_tco2": Decimal(0)}
    return canonical_text(
        PeriodResult(
            project="TH014",
            title=title,
            host_country="THA",
            methodology="TH_AM001",
            methodology_version="1.0",
            methodology_title="Installation of Solar PV System",
            first_day=days[0],
            last_day=days[1],
            revision=2,
            received_until=datetime(2022, 1, 15, 2, tzinfo=UTC),
            systems=(system,),
            vintages=(Vintage(2021, *days, **numbers, er_tco2=er_tco2),),
            coverage=Decimal("1.0000"),
            rules={},
            inputs_digest="sha256:00",
            code_version="1",
        ).as_json()
    )


def test_the_bytes_are_those_of_the_document():
    text = result()
    assert statement.write(text, "sha256:00", ["FAR-1"]) == (
        b'{"er_tco2":2017,"inputs_digest":"sha256:00","methodology":{"id":"TH_AM001","version":"1.0"},'
        b'"open_far":["FAR-1"],"period":{"from":"2021-01-01","to":"2021-12-31"},"project":"TH014",'
        b'"received_until":"2022-01-15T02:00:00+00:00","result_sha256":"sha256:'
        + hashlib.sha256(text.encode()).hexdigest().encode()
        + b'","revision":2,"statement":"jcm-mrv attestation 1","systems":[{"id":"pv-1","years":'
        b'[{"re_tco2":"2017.675000","year":2021}]}],"vintages":[{"er_tco2":2017,"year":2021}]}'
    )


@given(st.text(), st.lists(st.integers(1, 99), unique=True))
def test_one_content_has_one_statement_and_a_signature_over_it_holds_for_nothing_else(title, fars):
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    labels = [f"FAR-{number}" for number in fars]
    text = result(title)
    written = statement.write(text, "sha256:00", labels)
    assert canonical_text(json.loads(written)).encode() == written
    signature = key.sign(written)
    public = key.public_key().public_bytes(RAW, serialization.PublicFormat.Raw)
    registered = keys.VerifierKey(keys.key_id(public), public, "X", *[datetime.now(UTC)] * 2, None, None, None)
    assert registered.signed(written, signature)
    assert not registered.signed(statement.write(text, "sha256:00", [*labels, "FAR-100"]), signature)
    assert not registered.signed(written + b"\n", signature)
    other = statement.write(result(title + "x"), "sha256:00", labels)
    with pytest.raises(SignatureError, match="result_sha256 was"):
        statement.compare(written, other, "revision 2")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"statement":"jcm-mrv attestation 2"}'])
def test_what_is_no_statement_is_refused(content):
    with pytest.raises(SignatureError, match="that is not a statement"):
        statement.read(content)


def test_only_an_ed25519_public_key_is_taken():
    key = Ed25519PrivateKey.generate()
    public = keys.read_public(key.public_key().public_bytes(PEM, PUBLIC))
    assert keys.key_id(public) == f"ed25519:{hashlib.sha256(public).hexdigest()}"
    private = key.private_bytes(PEM, PRIVATE, serialization.NoEncryption())
    with pytest.raises(VerifierKeyError, match="that is a private key, which never leaves its owner"):
        keys.read_public(private)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(VerifierKeyError, match="not an Ed25519 key"):
        keys.read_public(other.public_key().public_bytes(PEM, PUBLIC))
    with pytest.raises(VerifierKeyError, match="not a public key in PEM"):
        keys.read_public(b"abc")


def test_a_private_key_signs_as_openssl_does_and_says_what_it_lacks(tmp_path):
    key = Ed25519PrivateKey.generate()
    closed = key.private_bytes(PEM, PRIVATE, serialization.BestAvailableEncryption(b"secret"))
    (tmp_path / "key.pem").write_bytes(closed)
    (tmp_path / "statement.json").write_bytes(b"{}")
    subprocess.run(
        ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-passin", "pass:secret",
         "-in", "statement.json", "-out", "sig"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    assert keys.sign(closed, b"{}", b"secret") == (tmp_path / "sig").read_bytes()
    for password, said in ((None, "needs its password"), (b"wrong", "the password is wrong")):
        with pytest.raises(VerifierKeyError, match=said):
            keys.sign(closed, b"{}", password)
    with pytest.raises(VerifierKeyError, match="cannot be read"):
        keys.sign(b"abc", b"{}")
    with pytest.raises(VerifierKeyError, match="that is a public key"):
        keys.sign(key.public_key().public_bytes(PEM, PUBLIC), b"{}")


def test_a_share_is_a_year_a_side_a_holder_and_whole_tonnes():
    assert Share.parse("2021:japan:Example: Co., Ltd.=1009") == Share(2021, "japan", "Example: Co., Ltd.", 1009)
    assert Share.parse("2021:host: A =0") == Share(2021, "host", "A", 0)


@pytest.mark.parametrize(
    "text", ["", "2021:japan:A=1.5", "2021:japan:A=-1", "2021:both:A=1", "21:host:A=1", "2021:host:=1", "2021:host:A"]
)
def test_what_is_no_share_is_refused(text):
    with pytest.raises(WrongUseError, match="is not a share; give it as YEAR:SIDE:HOLDER=TONNES"):
        Share.parse(text)


def test_what_a_finding_is_about_names_only_what_was_given():
    assert About().as_json() == {}
    assert About(day=date(2021, 3, 2), message_id=7).as_json() == {"day": "2021-03-02", "message_id": 7}
