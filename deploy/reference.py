"""Write `docs/reference.md` from the code: `make docs`. A test fails when the file is not what this would write."""

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

import deploy
import devices
import ingest
import mrv
import sql
from deploy.alerts.rules import RULES
from deploy.cli import ROOM_ERRORS, cli
from deploy.fleet_metrics import FLEET_FAMILIES
from deploy.servers import Endpoints
from deploy.settings import PREFIX, Settings, secret_settings
from deploy.web import measures
from deploy.web.app import OPENAPI, make_app
from deploy.web.composition import make_state
from deploy.web.problems import ProblemError, kinds
from deploy.web.verifier.api import REVISION
from devices.points import POINTS
from devices.topics import FILTER
from ingest.metrics import FAMILIES, Family
from mrv.errors import WrongUseError

_HEAD = """\
# Reference

Written from the code by `make docs`. What things are for is told in the guides: [operators](operators.md),
[participants](participants.md), [verifiers](verifiers.md), [registry staff](registry.md), and for administrators
[deploying](deploy.md), [access](access.md), [keeping](keeping.md). Log events are told in
[operators](operators.md#log-events), the events of the record in [access](access.md#the-record), why a message is in
quarantine in [operators](operators.md#quarantine), why a device gives no reading in [devices](devices.md#reasons).
"""
_API = "/api/v1"


def render() -> str:
    """Return the whole page."""
    parts = [_HEAD, *_settings(), *_commands(), *_topics(), *_points(), *_api(), *_problems(), *_alerts(), *_metrics()]
    return "\n".join([*parts, *_errors()]) + "\n"


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield "From the environment, or from a TOML file named by `JCM_MRV_CONFIG` (there without the prefix, in lower"
    yield "case); the environment wins. What is marked `_FILE` is a secret: instead of it, the name of a"
    yield "file that holds it can be given, under the setting's name with `_FILE` behind it.\n"
    yield "| setting | what it is | default |"
    yield "| --- | --- | --- |"
    secrets = secret_settings()
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else f"`{field.default}`" if field.default != "" else "empty"
        held = ", `_FILE`" if name in secrets else ""
        yield f"| `{PREFIX}{name.upper()}`{held} | {field.description} | {default} |"
    yield ""


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "Exit status: 0 done, 1 failed, 2 wrong use. An error is one line on standard error.\n"
    context = click.Context(cli, info_name="jcm-mrv")
    for path, command in _walk(cli, context, "jcm-mrv"):
        arguments = " ".join(parameter.make_metavar(context) for parameter in command.params if _is_argument(parameter))
        yield f"### `{path}{' ' + arguments if arguments else ''}`\n"
        yield f"{' '.join((command.help or '').split())}\n"
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        if options:
            yield "| option | what it does |"
            yield "| --- | --- |"
            for option in options:
                names = ", ".join(option.opts)
                # A bar would end the table's cell, also inside code.
                value = "" if option.is_flag else f" {option.make_metavar(context).replace('|', '/')}"
                needed = " (needed)" if option.required else ""
                # A bar ends a table's cell, also inside code.
                yield f"| `{names}{value}` | {' '.join((option.help or '').split())}{needed} |"
            yield ""


def _walk(group: click.Group, context: click.Context, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _walk(command, context, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def _is_argument(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Argument)


def _topics() -> Iterator[str]:
    yield "## Topics\n"
    yield "A device publishes to `jcm/v1/<site>/<device>/readings`, at QoS 1, one object or a list of them:\n"
    yield '`{"ts": "2026-11-22T07:00:00Z" | epoch ms, "seq": 17, "points": {"W": 1234.5, "TotWhExp": 9876543}}`\n'
    yield f"A collector subscribes to `{FILTER}`, so that a wrong topic ends in quarantine and not nowhere.\n"


def _points() -> Iterator[str]:
    yield "## Points\n"
    yield "SunSpec's names. Any other name is kept with the reading as extra.\n"
    yield "| point | unit | column of `reading` |"
    yield "| --- | --- | --- |"
    for point in POINTS.values():
        yield f"| `{point.name}`{' (register)' if point.register else ''} | {point.unit} | `{point.column}` |"
    yield ""


def _api() -> Iterator[str]:
    yield "## API\n"
    yield f"Served by `jcm-mrv serve` under `{_API}`; its own description (OpenAPI) is at `{OPENAPI}`. How to"
    yield "sign in, `limit` and `after`, ETags and what an answer looks like is told in [the API](api.md). `REVISION`"
    yield f"is `{REVISION}`."
    described = described_api()
    tag = ""
    for path, methods in described["paths"].items():
        for method, call in methods.items():
            if tag != (tag := call["tags"][0]):
                yield f"\n### {tag.capitalize()}\n"
                yield "| call | what it gives or does | parameters |"
                yield "| --- | --- | --- |"
            short = path.removeprefix(_API).replace(REVISION, "REVISION")
            given = "; ".join((*_query(call), *_fields(call, described["components"]["schemas"])))
            yield f"| `{method.upper()} {short}` | {call['summary']} | {given} |"
    yield ""


def described_api() -> dict[str, Any]:
    """Return the API's own description; no database is asked for it."""
    settings = Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1/nothing"))
    state = make_state(Endpoints(settings), 0, CollectorRegistry())
    return make_app(state, registry=CollectorRegistry()).openapi()


def _query(call: dict[str, Any]) -> Iterator[str]:
    for one in call.get("parameters", []):
        if one["in"] != "query":
            continue
        default = one["schema"].get("default")
        needed = " (needed)" if one["required"] else f" ({default})" if isinstance(default, int | str) else ""
        # These two are the same everywhere, and told once.
        said = "" if one["name"] in {"limit", "after"} else f": {one['description']}"
        yield f"`{one['name']}`{needed}{said}".replace("(False)", "(false)").replace("(True)", "(true)")


def _fields(call: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    for content in call.get("requestBody", {}).get("content", {}).values():
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        names = [
            f"`{name}`{' (needed)' if name in schema.get('required', ()) else ''}" for name in schema["properties"]
        ]
        yield f"JSON: {', '.join(names)}"


def _problems() -> Iterator[str]:
    yield "## Problems\n"
    yield "What a request is refused for, as problem details (RFC 9457). `jcm-mrv serve` explains each at its `type`."
    yield "429 and 503 say in `Retry-After` when to ask again; a 422 may name each field in `fields`.\n"
    yield "| type | status | what it means |"
    yield "| --- | --- | --- |"
    for kind in sorted(kinds(), key=lambda one: one.status):
        yield f"| `/problems/{kind.name}` | {kind.status} | {kind.title()} |"
    yield ""


def _alerts() -> Iterator[str]:
    yield "## Alert rules\n"
    yield "Judged by `jcm-mrv schedule`. Thresholds, what to do, and the rules of Prometheus are told in"
    yield "[alerts](alerts.md).\n"
    yield "| rule | severity | what is so when it fires |"
    yield "| --- | --- | --- |"
    for rule in RULES.values():
        yield f"| [`{rule.id}`](alerts.md#{rule.id}) | {rule.defaults.severity} | {rule.means} |"
    yield ""


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield "A collector shows them under `/metrics` where `JCM_MRV_HEALTH_PORT` is set, beside the usual `process_*`."
    yield "Each collector counts for itself, from 0 at its start; what holds over restarts is `jcm-mrv status`.\n"
    yield from _families(FAMILIES.values())
    yield "## Metrics of the fleet\n"
    yield "`jcm-mrv serve` shows them under `/metrics`; they are read from the database, at most every 15 seconds."
    yield "The rules on them are told in [alerts](alerts.md).\n"
    yield from _families(FLEET_FAMILIES.values())
    yield "## Metrics of requests\n"
    yield "`jcm-mrv serve` shows them under `/metrics` too, each process for itself. A route is a pattern, never the"
    yield "path that was asked for.\n"
    yield from _families([Family(measures.NAME, "histogram", f"{measures.HELP.capitalize()}.", measures.LABELS)])


def _families(families: Iterable[Family]) -> Iterator[str]:
    yield "| metric | kind | labels | what it is |"
    yield "| --- | --- | --- | --- |"
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {family.kind} | {labels} | {family.help} |"
    yield ""


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    yield "| error | what it means | exit status |"
    yield "| --- | --- | --- |"
    # An error is known once its module is imported, and they do not all stand in an errors.py.
    for room in (deploy, devices, ingest, mrv, sql):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    for base in ROOM_ERRORS:
        for error in _subclasses(base):
            if issubclass(error, ProblemError):  # told above
                continue
            first_line = (error.__doc__ or "").strip().splitlines()[0]
            yield f"| `{error.__module__}.{error.__name__}` | {first_line} | {2 if error is WrongUseError else 1} |"


def _subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    yield error
    # In an order of their own: that of their import is another in each process.
    for subclass in sorted(error.__subclasses__(), key=lambda kind: (kind.__module__, kind.__name__)):
        yield from _subclasses(subclass)


if __name__ == "__main__":
    sys.stdout.write(render())
