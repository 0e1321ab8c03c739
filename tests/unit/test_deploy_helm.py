"""The Helm chart: linted and rendered by helm, what comes out held against Kubernetes' own schemas."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.settings import load_settings, secret_settings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "jcm-mrv"
HELM = shutil.which("helm", path=f"{ROOT / '.local' / 'tools' / 'bin'}:{os.environ.get('PATH', '')}")
KUBERNETES = "1.34"
# Of the Prometheus operator; no schema of them is at hand.
ITS_OWN = {"ServiceMonitor", "PrometheusRule"}

FULL = """
image: {repository: registry.example.org/jcm-mrv, digest: "sha256:%s", pullSecrets: [{name: pull}]}
brokerAuthorities: authorities
brokerCertificate: certificate
settings: {JCM_MRV_BATCH_LINGER_MS: "20"}
collector: {replicas: 3, nodeSelector: {disk: ssd}, affinity: {nodeAffinity: {}}}
schedule: {alerts: alerts, alertsSecret: targets, tolerations: [{key: a, operator: Exists}]}
serve:
  url: https://mrv.example.org
  oidcSecret: true
  signsBundles: true
  ingress: {enabled: true, className: nginx, host: mrv.example.org, tlsSecret: web, annotations: {a: b}}
backup: {enabled: true, passphraseSecret: sealing, storage: {className: fast}, tolerations: [{key: a}]}
emqx:
  tlsSecret: broker
  refused: [site-9]
  service: {type: LoadBalancer, annotations: {c: d}}
  storage: {className: fast}
networkPolicy: {databaseCidr: 10.0.0.0/8, ingressNamespace: {a: b}, monitoringNamespace: {c: d}}
monitoring: {enabled: true, labels: {release: prometheus}}
""" % ("0" * 64)
OWN_BROKER = """
migrate: {enabled: false}
collector: {replicas: 1}
backup: {enabled: true, keepDays: 30, storage: {existingClaim: mine}}
emqx: {enabled: false}
networkPolicy: {brokerCidr: 10.1.2.3/32, outsidePorts: []}
"""
VALUES = {"default": "{}", "full": FULL, "own broker": OWN_BROKER, "open": "networkPolicy: {enabled: false}"}

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is missing: `make tools` (needs Go)")


def helm(*arguments: object, values: str = "{}") -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(HELM), *map(str, arguments), "-f", "-"], input=values, capture_output=True, text=True, check=False
    )


def render(values: str) -> list[dict]:
    done = helm("template", "mrv", CHART, "--namespace", "mrv", "--kube-version", KUBERNETES, values=values)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[dict]]:
    return {name: render(values) for name, values in VALUES.items()}


def pods(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    for one in objects:
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"]


def container(objects: list[dict], name: str) -> dict:
    return next(pod["spec"]["containers"][0] for found, pod in pods(objects) if found == f"mrv-jcm-mrv-{name}")


def environment(one: dict) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in one["env"]}


@needs_helm
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_helm_lints_it(values):
    done = helm("lint", "--strict", CHART, "--kube-version", KUBERNETES, values=values)
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@needs_helm
@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_would_take_what_comes_out(rendered, name):
    for one in rendered[name]:
        if one["kind"] not in ITS_OWN:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


@needs_helm
def test_a_field_that_kubernetes_does_not_know_would_be_seen(rendered):
    one = json.loads(json.dumps(next(one for one in rendered["default"] if one["kind"] == "StatefulSet")))
    one["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


@needs_helm
@pytest.mark.parametrize("name", VALUES)
def test_names_are_used_once_and_selectors_find_their_pods(rendered, name):
    objects = rendered[name]
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))
    labels = [pod["metadata"]["labels"] for _, pod in pods(objects)]
    for one in objects:
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"]
        elif one["kind"] in {"PodDisruptionBudget", "Deployment", "StatefulSet"}:
            wanted = one["spec"]["selector"]["matchLabels"]
        elif one["kind"] == "NetworkPolicy" and "migrate" not in one["metadata"]["name"]:
            wanted = one["spec"]["podSelector"]["matchLabels"]
        else:
            continue
        assert any(wanted.items() <= found.items() for found in labels), one["metadata"]["name"]


@needs_helm
@pytest.mark.parametrize("name", VALUES)
def test_pods_are_restricted_as_kubernetes_calls_it(rendered, name):
    for found, pod in pods(rendered[name]):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, found
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"]:
            rights = one["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights.get("readOnlyRootFilesystem", False) == (not found.endswith("emqx"))
            assert one["resources"]["limits"]["memory"]
            assert one["resources"]["requests"].keys() == {"cpu", "memory"}


@needs_helm
@pytest.mark.parametrize("name", VALUES)
def test_the_program_takes_the_settings_of_each_pod(rendered, name, monkeypatch, tmp_path):
    for _, pod in pods(rendered[name]):
        one = pod["spec"]["containers"][0]
        if not one["image"].split("/")[-1].startswith("jcm-mrv"):
            continue
        for variable, value in environment(one).items():
            if "/run/secrets/jcm-mrv/" in value and variable.endswith(("_URL_FILE", "_SECRET_FILE")):
                key = value.removeprefix("/run/secrets/jcm-mrv/")
                (tmp_path / key).write_text("x://y")
                value = str(tmp_path / key)  # noqa: PLW2901
            monkeypatch.setenv(variable, value or "pod-0")
            if not value and variable != "JCM_MRV_MQTT_CLIENT_ID":
                monkeypatch.setenv(variable, value)
        load_settings()
        for variable in environment(one):
            monkeypatch.delenv(variable)


@needs_helm
def test_a_pod_is_handed_its_own_secrets_and_no_other(rendered):
    for _, pod in pods(rendered["full"]):
        items = [item["key"] for volume in pod["spec"]["volumes"] for item in volume.get("secret", {}).get("items", [])]
        one = pod["spec"]["containers"][0]
        paths = [value for value in environment(one).values() if value.startswith("/run/secrets/jcm-mrv/")]
        if one["name"] != "emqx":
            assert sorted(items) == sorted(path.rsplit("/", 1)[1] for path in paths)
        assert ("owner-database-url" in items) == (one["name"] in {"migrate", "backup"})


@needs_helm
def test_probes_ask_the_port_that_is_listened_on(rendered):
    for name, variable in (("collector", "HEALTH_PORT"), ("schedule", "SCHEDULE_HEALTH_PORT"), ("serve", "WEB_PORT")):
        one = container(rendered["default"], name)
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = one[probe]["httpGet"]
            assert ports[asked["port"]] == int(environment(one)[f"JCM_MRV_{variable}"])
            assert asked["path"] == ("/readyz" if probe == "readinessProbe" else "/livez")


@needs_helm
def test_collectors_have_sessions_of_their_own_and_share_the_subscription(rendered):
    one = container(rendered["full"], "collector")
    client_id = next(entry for entry in one["env"] if entry["name"] == "JCM_MRV_MQTT_CLIENT_ID")
    assert client_id["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert environment(one)["JCM_MRV_MQTT_SHARE_GROUP"] == "jcm-mrv"
    assert environment(one)["JCM_MRV_BATCH_LINGER_MS"] == "20"


@needs_helm
def test_the_migration_comes_before_the_rest(rendered):
    (job,) = [one for one in rendered["default"] if one["kind"] == "Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert not [one for one in rendered["own broker"] if one["kind"] == "Job"]


@needs_helm
def test_the_alert_rules_and_dashboards_are_the_projects(rendered):
    (rule,) = [one for one in rendered["full"] if one["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    (config,) = [one for one in rendered["full"] if one["metadata"]["name"].endswith("-dashboards")]
    boards = {path.name: path.read_text() for path in (ROOT / "deploy" / "grafana" / "dashboards").iterdir()}
    assert config["data"] == boards


@needs_helm
def test_a_broker_of_ones_own_takes_the_place_of_emqx(rendered):
    objects = rendered["own broker"]
    assert not [one for one in objects if "emqx" in one["metadata"]["name"]]
    policy = next(one for one in objects if one["metadata"]["name"] == "mrv-jcm-mrv-collector" and
                  one["kind"] == "NetworkPolicy")  # fmt: skip
    assert {"ipBlock": {"cidr": "10.1.2.3/32"}} in [
        to for rule in policy["spec"]["egress"] for to in rule.get("to", [])
    ]


@needs_helm
def test_emqx_lets_sites_do_what_mosquitto_lets_them(rendered):
    rules = next(one for one in rendered["default"] if one["kind"] == "ConfigMap")["data"]["acl.conf"]
    emqx = {
        (who, "read" if action == "subscribe" else "write", topic.replace("${username}", "%u"))
        for who, action, topics in re.findall(r"\{allow, (?:\{username, \"(\w+)\"\}|all), (\w+), \[(.*?)\]\}", rules)
        for topic in re.findall(r'"([^"]+)"', topics)
    }
    mosquitto, user = set(), ""
    for line in (ROOT / "deploy" / "mosquitto" / "acl").read_text().splitlines():
        words = line.split()
        if words[:1] == ["user"]:
            user = words[1]
        elif words[:1] == ["topic"]:
            mosquitto.add((user, words[1], words[2]))
        elif words[:1] == ["pattern"]:
            mosquitto.add(("", words[1], words[2]))
    assert emqx == mosquitto
    assert rules.strip().endswith("{deny, all}.")


@needs_helm
def test_8883_is_for_certificates_and_8884_for_passwords(rendered):
    """As with the project's Mosquitto, so that a site's configuration fits either."""
    text = next(one for one in rendered["full"] if one["kind"] == "ConfigMap" and "emqx.conf" in one["data"])["data"]
    listeners = dict(re.findall(r"listeners\.ssl\.(\w+) \{(.*?)\n\}", text["emqx.conf"], re.DOTALL))
    bound = {re.search(r':(\d+)"', said)[1]: said for said in listeners.values()}
    assert bound.keys() == {"8883", "8884"}
    assert "enable_authn = false" in bound["8883"]
    assert "verify = verify_peer, fail_if_no_peer_cert = true" in bound["8883"]
    assert "enable_authn" not in bound["8884"]
    assert "verify" not in bound["8884"]
    service = next(one for one in rendered["full"] if one["kind"] == "Service" and
                   one["metadata"]["name"].endswith("-emqx"))  # fmt: skip
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {"mqtts": 8883, "mqtts-password": 8884}


@needs_helm
def test_pages_have_the_evidence_key_only_where_it_is_given_to_them(rendered):
    for name, has in (("default", False), ("full", True)):
        (pod,) = [pod for found, pod in pods(rendered[name]) if found == "mrv-jcm-mrv-serve"]
        assert ("JCM_MRV_EVIDENCE_KEY_FILE" in environment(pod["spec"]["containers"][0])) == has
        (secret,) = [one["secret"] for one in pod["spec"]["volumes"] if "secret" in one and "items" in one["secret"]]
        assert ("evidence-key.pem" in [item["key"] for item in secret["items"]]) == has


@needs_helm
def test_a_refused_site_is_refused_before_anything_is_allowed(rendered):
    (rules,) = [one["data"]["acl.conf"] for one in rendered["full"] if "acl.conf" in one.get("data", {})]
    assert rules.splitlines()[0] == '{deny, {username, "site-9"}, all, ["#"]}.'


@needs_helm
def test_a_backup_is_made_before_old_ones_go(rendered):
    assert not [one for one in rendered["default"] if one["kind"] in {"CronJob", "PersistentVolumeClaim"}]
    own, full = (container(rendered[name], "backup") for name in ("own broker", "full"))
    assert re.search(r"-euc.*jcm-mrv backup --out .*\n *find .* -mtime \+30 -delete", yaml.safe_dump(own), re.DOTALL)
    assert own["args"] == ["--without-keys"]
    assert full["args"] == ["--passphrase-file", "/run/secrets/backup/passphrase"]
    assert "JCM_MRV_EVIDENCE_KEY_FILE" in environment(full)
    (claim,) = [one for one in rendered["full"] if one["kind"] == "PersistentVolumeClaim"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    volumes = {volume["name"]: volume for _, pod in pods(rendered["own broker"]) for volume in pod["spec"]["volumes"]}
    assert volumes["backups"]["persistentVolumeClaim"] == {"claimName": "mine"}


@needs_helm
def test_the_backups_commands_are_run_by_a_shell(rendered, tmp_path):
    """With a program in the place of ours, in a folder in the place of the volume."""
    one = container(rendered["own broker"], "backup")
    old, new = tmp_path / "2020-01-01.backup", tmp_path / "2020-02-01.backup"
    old.touch(), new.touch(), os.utime(old, (0, 0))
    program = tmp_path / "bin" / "jcm-mrv"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\nexit ${STATUS:-0}\n')
    program.chmod(0o755)
    command = [word.replace("/backups", str(tmp_path)) for word in one["command"] + one["args"]]
    path = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    assert subprocess.run(command, env=path | {"STATUS": "1"}, check=False, capture_output=True).returncode == 1
    assert old.exists(), "nothing new was made"
    done = subprocess.run(command, env=path, check=True, capture_output=True, text=True)
    assert re.fullmatch(rf"backup --out {tmp_path}/\d{{4}}-\d\d-\d\d\.backup --without-keys\n", done.stdout)
    assert (old.exists(), new.exists()) == (False, True)


@needs_helm
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("collector: {replicas: -1}", "replicas"),
        ("colector: {}", "colector"),
        ("settings: {JCM_MRV_DATABASE_URL: x}", "JCM_MRV_DATABASE_URL"),
        ("serve: {ingress: {enabled: true}}", "host"),
        ("image: {digest: latest}", "digest"),
        ("backup: {schedule: daily}", "schedule"),
        ("backup: {keepDays: 0}", "keepDays"),
    ],
)
def test_wrong_values_are_refused(values, said):
    done = helm("template", "mrv", CHART, "--kube-version", KUBERNETES, values=values)
    assert done.returncode != 0
    assert said in done.stderr


def test_no_secret_can_be_given_among_the_settings():
    schema = json.loads((CHART / "values.schema.json").read_text())
    refused = schema["properties"]["settings"]["propertyNames"]["not"]["pattern"]
    assert all(re.search(refused, f"JCM_MRV_{name.upper()}") for name in secret_settings())


def test_the_chart_is_of_the_programs_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    program = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    containerfile = (ROOT / "deploy" / "Containerfile").read_text()
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert chart["version"] == chart["appVersion"] == program
    assert f"ARG VERSION={program}" in containerfile
    assert f"${{JCM_MRV_VERSION:-{program}}}" in compose
