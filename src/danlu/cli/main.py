"""The `danlu` command: parse, call one function, print. People's words go to stderr, JSON and predictions to stdout."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from danlu.core.errors import DanluError, InputError, Stopped


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code. What UTF-8 cannot say (names of files in another encoding) is printed escaped."""
    sys.stdout.reconfigure(errors="backslashreplace")
    code = run(list(sys.argv[1:] if argv is None else argv))
    gc.freeze()  # the program is at its end: no second of looking for what nobody refers to
    sys.exit(code)


def run(argv: list[str]) -> int:
    """The exit code of one command. No traceback without `--debug`."""
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _call(argv)
    except DanluError as error:
        if debug:
            raise
        return _told(error, argv)
    except KeyboardInterrupt:
        return _told(Stopped("train.interrupted", signal.SIGINT), argv)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return _told(
            InputError("cli.unexpected", type(error).__name__, problem=" ".join(str(error).split())[:300] or type(error).__name__), argv
        )


def _call(argv: list[str]) -> int:
    import typer
    from typer.main import get_command

    from danlu.cli.app import app

    try:
        result = get_command(app).main(argv, prog_name="danlu", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if isinstance(error, DanluError) or not hasattr(error, "format_message"):
            raise
        raise _usage(error) from None
    return result if isinstance(result, int) else 0


def _usage(error: Exception) -> InputError:
    """A wrong option, argument or command in our own words."""
    kind, context = type(error).__name__, getattr(error, "ctx", None)
    usage = context.command_path if context else "danlu"
    if kind == "NoSuchOption":
        near = ", ".join(error.possibilities or ()) or "--help"
        return InputError("cli.no-option", usage, option=error.option_name, near=near)
    if kind == "MissingParameter" and error.param is not None:
        return InputError("cli.missing", usage, name=_named(error.param), usage=usage)
    if kind == "BadOptionUsage":
        return InputError("cli.no-value", usage, name=error.option_name, usage=usage)
    if kind == "BadParameter" and error.param is not None:
        return InputError("cli.bad-option", usage, name=_named(error.param), usage=usage)
    if word := re.match(r"Got unexpected extra arguments? \((.*)\)", error.format_message()):
        return InputError("cli.extra", usage, name=word[1], usage=usage)
    if word := re.match(r"No such command '(.*?)'", error.format_message()):
        known = sorted(context.command.commands) if context else []
        return InputError("cli.no-command", usage, name=word[1], near=", ".join(get_close_matches(word[1], known, 3, 0.5) or known))
    return InputError("cli.usage", usage, problem=" ".join(error.format_message().split()), usage=usage)


def _told(error: DanluError, argv: list[str]) -> int:
    """Says an error where programs or people will find it; its exit code."""
    if "--json" in argv:
        print(json.dumps(error.as_json(), ensure_ascii=False), flush=True)
    print(error.sentence(), file=sys.stderr, flush=True)
    return error.exit_code


def _terminated(number: int, frame: object) -> None:
    raise Stopped("train.interrupted", number)


def _named(parameter: object) -> str:
    """A parameter as its user writes it: --data, or TASK."""
    options = [text for text in getattr(parameter, "opts", []) if text.startswith("-")]
    return options[0] if options else str(getattr(parameter, "metavar", "") or getattr(parameter, "name", "")).upper()
