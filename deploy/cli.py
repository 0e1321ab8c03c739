"""The command `jcm-mrv`: exit status 0 done, 1 failed, 2 wrong use; an error is one line on standard error."""

import importlib
import pkgutil
import sys
from importlib.metadata import version
from typing import NoReturn

import click

from deploy import commands
from deploy.errors import DeployError
from devices.errors import DevicesError
from ingest.errors import IngestError
from mrv.errors import MrvError, WrongUseError
from sql.errors import StoreError

ROOM_ERRORS: tuple[type[Exception], ...] = (DeployError, DevicesError, IngestError, MrvError, StoreError)
"""What a person can mend; printed as one line."""


class _Commands(click.Group):
    """Commands by module name, imported when asked for, so that `--help` does not wait for pandas."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it with the context
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__) if module.name[0] != "_")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"deploy.commands.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command), f"deploy.commands.{cmd_name} has no command {cmd_name}"  # noqa: S101
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("jcm-mrv"), message="jcm-mrv %(version)s")
def cli() -> None:
    """From a meter's register to a tonne that a verifier can sign."""


def main() -> NoReturn:
    """Run the command line."""
    try:
        cli.main(prog_name="jcm-mrv", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        said = " ".join(error.format_message().split())
        _tell(f"{said} (see `{error.ctx.command_path if error.ctx else 'jcm-mrv'} --help`)")
        sys.exit(2)
    except (click.exceptions.Exit, SystemExit) as error:
        code = error.exit_code if isinstance(error, click.exceptions.Exit) else error.code
        sys.exit(code)
    except WrongUseError as error:
        _tell(str(error))
        sys.exit(2)
    except ROOM_ERRORS as error:
        _tell(str(error))
        sys.exit(1)
    except click.ClickException as error:
        _tell(error.format_message())
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does; nothing is left to say.
        sys.stderr.close()
        sys.exit(1)
    sys.exit(0)


def _tell(message: str) -> None:
    print(f"jcm-mrv: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
