"""The `camelid` program: a group of commands that plugins add, each imported lazily when it runs.

Knows how commands are found and how errors become messages and exit codes
(0 done, 1 failed, 2 usage, 130 interrupted). Knows no command.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from .commands import Command
from .errors import CamelidError, PluginError, UsageError, did_you_mean, shortened
from .file_permissions import restrict_to_owner
from .paths import home, validated_path
from .plugin_faults import plugin_fault
from .plugin_host.selection import select_plugins
from .plugins import Problem, load_host
from .subprocesses import SAFE_PATH
from .tasks import import_attribute


class _LazyCommandGroup(TyperGroup):
    """Lists commands from their descriptions; imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(load_host().commands.names())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        commands = load_host().commands
        if cmd_name not in commands:
            return None
        return TyperCommand(cmd_name, help=commands[cmd_name].help, callback=lambda: None)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        commands = load_host().commands
        name = args[0]
        if name not in commands:
            if name.startswith("-"):
                return super().resolve_command(ctx, args)
            missing = f" {reason}" if (reason := commands.missing) else ""
            hint = f"{did_you_mean(name, commands.names())} `camelid --help` shows all.{missing}"
            ctx.fail(f"there is no command {name!r}.{hint}")
        return name, load_command(commands[name]), args[1:]


def load_command(command: Command) -> Any:
    """Import the click command that a description names; its help is plain text wherever it is shown."""
    commands: typer.Typer = import_attribute(command.target)
    commands.rich_markup_mode = None
    commands._add_completion = False
    loaded = typer.main.get_command(commands)
    loaded.name = command.name
    _validate_path_parameters(loaded)
    return loaded


def _validate_path_parameters(command: Any) -> None:
    """Validate every path argument and option of a command before the command runs."""
    for parameter in command.params:
        parameter.callback = parameter.callback or _validate_path_parameter
    for each in getattr(command, "commands", {}).values():
        _validate_path_parameters(each)


def _validate_path_parameter(context: Any, parameter: Any, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_validate_path_parameter(context, parameter, each) for each in value)
    what = parameter.name if parameter.param_type_name == "argument" else parameter.opts[0]
    return validated_path(value, what) if isinstance(value, Path) else value


app = typer.Typer(
    cls=_LazyCommandGroup,
    name="camelid",
    help="Collect instruction data, fine-tune language models, merge, chat, predict and serve.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _choose_plugins(context: typer.Context, parameter: typer.CallbackParam, given: Any) -> Any:
    """Choose before any command is looked up: plugins bring commands."""
    if given in (None, False):
        return given
    if context.meta.setdefault("camelid.plugins", parameter.name) != parameter.name:
        raise UsageError("--no-plugins and --only-plugins exclude each other; type one of them.")
    select_plugins(os.environ, None if parameter.name == "no_plugins" else given)
    return given


@app.callback()
def _root(
    context: typer.Context,
    no_plugins: Annotated[
        bool,
        typer.Option(
            "--no-plugins", is_eager=True, callback=_choose_plugins, help="Load Camelid's own packages and no plugin."
        ),
    ] = False,
    only_plugins: Annotated[
        str | None,
        typer.Option(
            "--only-plugins",
            is_eager=True,
            callback=_choose_plugins,
            metavar="NAME,NAME",
            help="Load these plugins and no others. Processes that this one starts do the same.",
        ),
    ] = None,
) -> None:
    """Collect instruction data, fine-tune language models, merge, chat, predict and serve."""
    restrict_to_owner(home())
    host = load_host()
    if context.invoked_subcommand == "plugins":  # it says all of this itself
        host.announce(lambda problem: None)
        return
    if host.exclusion:
        sys.stderr.write(f"camelid: {host.exclusion} leaves out {', '.join(host.excluded) or 'no installed plugin'}.\n")
    host.announce(_say_problem)


def _say_problem(problem: Problem) -> None:
    sys.stderr.write(f"camelid: plugin {problem.plugin}: {problem.message} `camelid plugins doctor` says more.\n")


def _check_utf8(arguments: Sequence[str]) -> None:
    """Raise UsageError if an argument is not UTF-8: neither a message nor a job's configuration could hold it."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(argument)
            raise UsageError(f"argument {number}, {shown!r}, is not UTF-8; type it so, or rename the file.") from None


def _os_error_message(error: OSError) -> str:
    """The operating system's error; where Camelid's home is the cause, how to choose another."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return error.strerror or str(error) or type(error).__name__
    path = Path(os.fsdecode(error.filename)).absolute()
    directory = home()
    # os.path: Path's method raises for a long name
    unusable = not (os.path.isdir(directory) and os.access(directory, os.W_OK))  # noqa: PTH112
    home_is_cause = unusable and (path.is_relative_to(directory) or directory.is_relative_to(path))
    hint = ". CAMELID_HOME chooses another directory." if home_is_cause else ""
    return f"{error.strerror}: {shortened(os.fsdecode(error.filename))!r}{hint}"


def main() -> None:
    """Entry point of the `camelid` program."""
    os.environ.update(SAFE_PATH)  # for what libraries start, such as multiprocessing's helpers
    try:
        _check_utf8(sys.argv[1:])
        app(prog_name="camelid")
    except CamelidError as error:
        sys.stderr.write(f"camelid: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("camelid: interrupted\n")
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
    except OSError as error:
        if fault := plugin_fault(error):
            _leave_with_fault(fault)
        with suppress(OSError):  # it may be the terminal that is gone
            sys.stderr.write(f"camelid: {_os_error_message(error)}\n")
        raise SystemExit(2 if error.errno == errno.ENAMETOOLONG else 1) from None
    except Exception as error:
        fault = plugin_fault(error)
        if fault is None:
            raise
        _leave_with_fault(fault)


def _leave_with_fault(fault: PluginError) -> NoReturn:
    """Its author needs the traceback, and whoever ran it the last line."""
    traceback.print_exc()
    sys.stderr.write(f"camelid: {fault} `camelid --no-plugins` leaves all plugins out.\n")
    raise SystemExit(fault.exit_code) from None


if __name__ == "__main__":
    main()
