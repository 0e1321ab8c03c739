"""`jcm-mrv device`: what is done once for each device or site."""

import importlib
import pkgutil

import click

from deploy import commands

_PREFIX = "_device_"


class _Subcommands(click.Group):
    """Each in a module `_device_<name>` of its own, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it with the context
        names = (module.name for module in pkgutil.iter_modules(commands.__path__))
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{_PREFIX}{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command), f"{module.__name__} has no command {cmd_name}"  # noqa: S101
        return command


@click.group(cls=_Subcommands)
def device() -> None:
    """Connect devices and sites."""
