"""Secrets from files: the file's content is the setting, and what is wrong is said in one line without the secret."""

import pytest
from pydantic import SecretStr

from deploy.errors import ConfigurationError
from deploy.settings import Settings, load_settings, secret_settings

URL = "postgresql://collect:s3cret@db/jcm_mrv"


def test_a_file_holds_a_secret_and_its_line_end_is_none_of_it(tmp_path, monkeypatch):
    (tmp_path / "url").write_text(URL + "\n")
    monkeypatch.setenv("JCM_MRV_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("JCM_MRV_HEALTH_PORT", "9464")
    settings = load_settings()
    assert settings.database_url == SecretStr(URL)
    assert settings.health_port == 9464
    assert settings.mqtt_url is None


def test_the_environment_wins_over_the_settings_file_whichever_way_it_holds_the_secret(tmp_path, monkeypatch):
    (tmp_path / "of-toml").write_text("postgresql://toml/x")
    (tmp_path / "of-environment").write_text(URL)
    (tmp_path / "settings.toml").write_text(f"database_url_file = '{tmp_path / 'of-toml'}'\nmqtt_url = 'mqtt://toml'\n")
    monkeypatch.setenv("JCM_MRV_CONFIG", str(tmp_path / "settings.toml"))
    assert load_settings().database_url == SecretStr("postgresql://toml/x")
    monkeypatch.setenv("JCM_MRV_DATABASE_URL_FILE", str(tmp_path / "of-environment"))
    settings = load_settings()
    assert settings.database_url == SecretStr(URL)
    assert settings.mqtt_url == SecretStr("mqtt://toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "which is empty"),
        (b"\xff\xfe", "which is not text"),
    ],
)
def test_a_file_that_holds_none_is_named_with_its_setting(tmp_path, monkeypatch, content, said):
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("JCM_MRV_MQTT_URL_FILE", str(path))
    with pytest.raises(ConfigurationError, match=f"JCM_MRV_MQTT_URL_FILE names {path}, ") as raised:
        load_settings()
    assert said in str(raised.value)


def test_both_ways_at_once_are_refused_without_telling_the_secret(tmp_path, monkeypatch):
    (tmp_path / "url").write_text(URL)
    monkeypatch.setenv("JCM_MRV_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("JCM_MRV_DATABASE_URL", URL)
    with pytest.raises(ConfigurationError, match="give one of them") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


def test_a_secret_of_a_wrong_form_is_not_told(tmp_path, monkeypatch):
    (tmp_path / "url").write_text("ftp://user:s3cret@host")
    monkeypatch.setenv("JCM_MRV_TSA_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(ConfigurationError, match="JCM_MRV_TSA_URL") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


def test_only_secrets_have_files(monkeypatch):
    assert {"database_url", "mqtt_url", "mqtt_publish_url", "tsa_url"} <= set(secret_settings())
    assert not {f"{name}_file" for name in secret_settings()} & set(Settings.model_fields)
    monkeypatch.setenv("JCM_MRV_LOG_FORMAT_FILE", "/etc/hostname")
    with pytest.raises(ConfigurationError, match="there is no setting JCM_MRV_LOG_FORMAT_FILE"):
        load_settings()
