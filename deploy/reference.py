"""Write `docs/reference.md` from the code: `make docs`. A test fails when the file is not what this would write."""

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator

import click

import deploy
import devices
import ingest
import mrv
import sql
from deploy.cli import ROOM_ERRORS, cli
from deploy.fleet_metrics import FLEET_FAMILIES
from deploy.settings import PREFIX, Settings, secret_settings
from devices.points import POINTS
from devices.topics import FILTER
from ingest.metrics import FAMILIES, Family
from mrv.errors import WrongUseError

_HEAD = """\
# Reference

Written from the code by `make docs`. What things are for is told in the guides: [operators](operators.md),
[participants](participants.md), [verifiers](verifiers.md), [registry staff](registry.md).
"""


def render() -> str:
    """Return the whole page."""
    parts = [_HEAD, *_settings(), *_commands(), *_topics(), *_points(), *_metrics(), *_errors()]
    return "\n".join(parts) + "\n"


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


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield "A collector shows them under `/metrics` where `JCM_MRV_HEALTH_PORT` is set, beside the usual `process_*`."
    yield "Each collector counts for itself, from 0 at its start; what holds over restarts is `jcm-mrv status`.\n"
    yield from _families(FAMILIES.values())
    yield "## Metrics of the fleet\n"
    yield "`jcm-mrv serve` shows them under `/metrics`; they are read from the database, at most every 15 seconds."
    yield "The rules on them are told in [alerts](alerts.md).\n"
    yield from _families(FLEET_FAMILIES.values())


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
            first_line = (error.__doc__ or "").strip().splitlines()[0]
            yield f"| `{error.__module__}.{error.__name__}` | {first_line} | {2 if error is WrongUseError else 1} |"


def _subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    yield error
    # In an order of their own: that of their import is another in each process.
    for subclass in sorted(error.__subclasses__(), key=lambda kind: (kind.__module__, kind.__name__)):
        yield from _subclasses(subclass)


if __name__ == "__main__":
    sys.stdout.write(render())
