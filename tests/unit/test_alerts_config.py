"""The file of the alerts: what it may say, and how it is told what is wrong with it."""

import re
from pathlib import Path

import pytest

from deploy.alerts.config import AlertsFile, Email, Webhook, load_alerts, parse
from deploy.alerts.rules import RULES, Rules, Thresholds
from deploy.errors import ConfigurationError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
NAME = Path("alerts.toml")
MAIL = '[email.x]\nhost = "h"\nsender = "a@b.example"\nto = ["c@d.example"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rules", "this is not TOML"),
        ("group_wait = 5", "group_wait: extra inputs"),
        ("group_wait_s = -1", "group_wait_s: input should be greater"),
        ("[rules.site_quiet]\n", "rules.site_quiet: extra inputs"),
        ("[rules.site_silent]\nafter_s = 'soon'", "rules.site_silent.after_s: input should be a valid integer"),
        ("[rules.site_silent]\nrepeat_s = 60", "rules.site_silent.repeat_s: extra inputs"),
        ("[rules.register_anomaly]\nrules = ['reset']", "rules.register_anomaly.rules: there is no rule reset"),
        ("[sites.s1.disk_filling]\n", "sites.s1.disk_filling: no rule of a site is called so; there are site_silent"),
        ("[sites.s1.site_silent]\nafter_s = 0", "sites.s1.site_silent.after_s: input should be greater than 0"),
        ("[sites]\ns1 = 1", "sites.s1: write [sites.s1.RULE]"),
        ("[webhook.ops]\nurl = 'ftp://x'", "webhook.ops.url: this is no address"),
        ("[webhook.ops]\n", "webhook.ops.url: field required"),
        (
            "[webhook.ops]\nurl = 'http://x'\nsecret = 'geheim'",
            "webhook.ops.secret: name a file that holds it in secret_file",
        ),
        ("[webhook.ops]\nurl = 'http://x'\nsecret_file = '/nowhere'", "webhook.ops: SECRET_FILE names /nowhere"),
        ("[webhook.ops]\nurl = 'http://x'\nca_file = '/nowhere'", "webhook.ops.ca_file: there is no file"),
        ("[webhook.ops]\nurl = 'http://x'\nrules = ['all']", "webhook.ops.rules: there is no rule all"),
        ("[webhook.'a b']\nurl = 'http://x'", "webhook.a b: string should match"),
        (MAIL.replace("c@d.example", "c"), "email.x.to.0: this is no address of the form name@host"),
        (
            MAIL.replace("c@d.example", "c@dö.example"),
            "email.x.to.0: this is no address of the form name@host, in ASCII",
        ),
        (MAIL + "password = 'geheim'", "email.x.password: name a file that holds it in password_file"),
        (MAIL + "user = 'u'", "email.x: give user and password_file, or neither"),
        (MAIL + "user = 'u'\npassword_file = '{secret}'\nsecurity = 'none'", "email.x.security: none would send"),
        (MAIL + "user = 'ü'\npassword_file = '{secret}'", "email.x: user and password must be ASCII"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(text, said, tmp_path):
    (tmp_path / "secret").write_text("geheim")
    with pytest.raises(ConfigurationError) as raised:
        parse(text.replace("{secret}", str(tmp_path / "secret")), NAME)
    assert str(raised.value).startswith(f"alerts.toml: {said}")
    assert "geheim" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigurationError, match=r"JCM_MRV_ALERTS_FILE names nowhere\.toml"):
        load_alerts(Path("nowhere.toml"))
    assert load_alerts(None) == AlertsFile()


def test_secrets_come_from_files_and_are_not_shown(tmp_path):
    (tmp_path / "secret").write_text("geheim\n")
    (tmp_path / "url").write_text("https://hooks.example/T0/geheim\n")
    config = parse(f"[webhook.ops]\nurl_file = '{tmp_path}/url'\nsecret_file = '{tmp_path}/secret'\n", NAME)
    [target] = config.targets.values()
    assert isinstance(target, Webhook)
    assert target.secret.get_secret_value() == "geheim"
    assert "geheim" not in repr(config)


def test_a_device_differs_from_its_site_and_the_site_from_the_rule():
    config = parse(
        "[rules.device_silent]\nafter_s = 1000\nfor_s = 7\n[sites.s1.device_silent]\nkeep_s = 9\n"
        '[sites."s1/inv-1".device_silent]\nafter_s = 5\n',
        NAME,
    )
    found = [config.thresholds("device_silent", subject) for subject in ("s2/inv-1", "s1/inv-2", "s1/inv-1")]
    assert [(one.after_s, one.for_s, one.keep_s) for one in found] == [(1000, 7, 120), (1000, 7, 9), (5, 7, 9)]


def test_the_examples_of_the_page_can_be_read(tmp_path):
    examples = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    (tmp_path / "secret").write_text("https://hooks.example/x")
    for example in examples:
        text = re.sub(r'"/etc/jcm-mrv/[^"]*"', f'"{tmp_path}/secret"', example)
        assert parse(text, NAME).targets


def shown(default: object) -> str:
    """A default as the page shows it."""
    if isinstance(default, tuple):
        return ", ".join(f"`{one}`" for one in default)
    return "unset" if default is None else f"`{default}`"


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_every_rule_is_documented_with_its_thresholds_and_defaults(rule):
    section = re.split(rf"^### {rule.id}$", PAGE, flags=re.MULTILINE)[1].split("\n#")[0]
    flat = " ".join(section.split())
    assert rule.means[1:] + "." in flat
    assert f"To do: {rule.do}." in flat
    for name, field in type(rule.defaults).model_fields.items():
        if name != "off":
            description = Thresholds.model_fields.get(name, field).description
            assert f"| `{name}` | {description} | {shown(getattr(rule.defaults, name))} |" in section


@pytest.mark.parametrize("model", [AlertsFile, Webhook, Email], ids=lambda model: model.__name__)
def test_every_key_of_the_file_is_documented(model):
    for name, field in model.model_fields.items():
        if name not in {"rules", "webhook", "email"} or model is not AlertsFile:
            default = "needed" if field.is_required() else shown(field.default)
            assert f"| `{name}` | {field.description} | {default} |" in PAGE


def test_the_page_names_no_rule_that_there_is_not():
    rules = PAGE.partition("\n## The rules\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", rules, re.MULTILINE) == list(Rules.model_fields)
