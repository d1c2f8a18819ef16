"""The command line: finds the command, the config and its overrides, and turns mistakes into messages.

Nothing here imports JAX, so that help and mistakes are answered at once.
"""

import contextlib
import difflib
import errno
import importlib
import os
import pathlib
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from jax_vtm import __version__
from jax_vtm.bucket import is_bucket, problem
from jax_vtm.commands.help import command_help, overview
from jax_vtm.commands.table import COMMANDS, RENAMED, Command
from jax_vtm.config import Config, config_file, config_folder, default_workdir, flattened, load_config, read_flags
from jax_vtm.errors import FAILURE, MISTAKE, SUCCESS, ProcessFailed, Stopped, UserError, exit_code, shown
from jax_vtm.files import AnyPath, check_answers, read_files, usable_folder, write_text

# How the program is called, by the name of what was run; otherwise it was installed.
PROGRAMS = {"main.py": "python main.py", "__main__.py": "python -m jax_vtm"}

HELP_WORDS = ("--help", "-help", "-h", "help")
DRY_RUN_WORDS = ("--dry_run", "-dry_run")

# What an operating system says where there is no room to write, or no right to; commands say it of their own files.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def main() -> int:
    """Runs the command line of this process: `jax-vtm`, `python -m jax_vtm` and `python main.py` are the same."""
    return run(sys.argv)


def run(argv: Sequence[str], default_config: pathlib.Path | None = None) -> int:
    """Runs one command line and returns the process's exit code.

    Args:
        argv: As `sys.argv`.
        default_config: The config of a command line that names none; None is the embedded model's.
    """
    default_config = default_config or config_folder() / "moving_digits.py"
    remarks = _Remarks()
    with warnings.catch_warnings():
        warnings.showwarning = remarks
        try:
            return _run(argv, default_config, remarks)
        finally:
            remarks.keep()


class _Remarks:
    """Prints warnings, such as what is odd about a file, in one line each and once, and keeps them in the workdir."""

    def __init__(self):
        self.workdir: AnyPath | None = None
        self.said: set[str] = set()
        self.not_kept: list[str] = []
        self.known: list[str] | None = None  # what the file already says; None before it was read

    def __call__(self, message: Warning | str, *_: object, **__: object) -> None:
        text = shown(message)
        if text not in self.said:
            self.said.add(text)
            self.not_kept.append(text)
            print(f"warning: {text}", file=sys.stderr)
            self.keep()

    def keep(self) -> None:
        """Adds to `warnings.txt` what is not there yet; a run that goes on after a stop says things again."""
        if not self.not_kept or self.workdir is None:
            return
        path = self.workdir / "warnings.txt"
        # A full disk is for those to report who write results.
        with contextlib.suppress(OSError, UserError):
            if self.known is None:
                self.known = (read_files([path])[0] or b"").decode().splitlines()
            new = [text for text in self.not_kept if text not in self.known]
            if is_bucket(path):
                self.known += new
                write_text(path, "".join(f"{text}\n" for text in self.known))
            elif self.workdir.is_dir():
                with path.open("a", encoding="utf-8") as file:
                    file.write("".join(f"{text}\n" for text in new))
            else:
                return
            self.not_kept.clear()


def _run(argv: Sequence[str], default_config: pathlib.Path, remarks: _Remarks) -> int:
    workdir = None
    try:
        command, config, workdir = parse(argv, default_config)
        remarks.workdir = workdir
        code = SUCCESS
        if command != "help":
            # A bucket answers while JAX is imported.
            with ThreadPoolExecutor(1) as background:
                answer = background.submit(check_answers, workdir)
                module = importlib.import_module(COMMANDS[command].module)
                answer.result()
            code = module.run(config, workdir)
        # Here, and not at the interpreter's end, it can still be seen that nobody reads it.
        sys.stdout.flush()
        return code
    except (UserError, Stopped, ProcessFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt as error:
        print("stopped.", file=sys.stderr)
        return exit_code(error)
    except BrokenPipeError as error:
        # It may as well have been another pipe, such as that of a process of ours.
        if _is_read(sys.stdout.fileno()):
            return _unforeseen(error, workdir)
        # No reason for a traceback, now or at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code(error)
    except Exception as error:
        return _unforeseen(error, workdir)


def _unforeseen(error: Exception, workdir: AnyPath | None) -> int:
    """Says in a sentence what nobody foresaw, and keeps the traceback in a file; returns the exit code."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        print(f"error: {shown(error.filename or workdir)}: cannot be written: {error.strerror}.", file=sys.stderr)
        return MISTAKE
    if not isinstance(error, OSError) and (said := problem(error)):
        print(f"error: {said}.", file=sys.stderr)
        return MISTAKE
    path = _kept(traceback.format_exc(), workdir)
    said = shown(f"{type(error).__name__}: {error}".partition("\n")[0])
    print(f"error: {said}. This is a fault of the program; its traceback is in {shown(path)}.", file=sys.stderr)
    return FAILURE


def _kept(text: str, workdir: AnyPath | None) -> AnyPath:
    """Writes a traceback to the workdir or, where that cannot be, to a new file for temporary things."""
    if workdir is not None:
        with contextlib.suppress(UserError):
            path = workdir / "traceback.txt"
            write_text(path, text)
            return path
    file, name = tempfile.mkstemp(prefix="jax_vtm_", suffix="_traceback.txt")
    with os.fdopen(file, "w", errors="backslashreplace") as stream:
        stream.write(text)
    return pathlib.Path(name)


def _is_read(output: int) -> bool:
    """Whether somebody is still there to read an output; `| head` leaves when it has seen enough."""
    try:
        os.write(output, b"\n")
    except BrokenPipeError:
        return False
    return True


def parse(argv: Sequence[str], default_config: pathlib.Path) -> tuple[str, Config, AnyPath]:
    """Reads a command line.

    Returns:
        The command, the config with its overrides, and the folder for results; after a request for help or the
        version, which is answered here, the command "help".

    Raises:
        UserError: Anything that cannot be understood, with what is close to it.
    """
    program = PROGRAMS.get(pathlib.Path(argv[0]).name, "jax-vtm")
    if "--version" in argv[1:]:
        print(f"jax_vtm {__version__}")
        return "help", None, pathlib.Path()
    wants_help = any(word in HELP_WORDS for word in argv[1:])
    given = [word for word in argv[1:] if word not in HELP_WORDS]
    if wants_help and all(word.startswith("-") for word in given):
        print(overview(program))
        return "help", None, pathlib.Path()
    wants_dry_run = any(word in DRY_RUN_WORDS for word in given)
    own = next((COMMANDS[word].default_config for word in given if word in COMMANDS), default_config.stem)
    file, arguments = config_file(
        [word for word in given if word not in DRY_RUN_WORDS],
        default_config if own == "moving_digits" else default_config.with_name(f"{own}.py"),
    )
    config = load_config(file)
    written = dict(flattened(config))
    workdir, words = read_flags(arguments, config, file)
    if words[:1] == ["predict"]:
        config.predict.videos, words = tuple(words[1:]), words[:1]
    if len(words) > 1:
        raise UserError(f"expected one command, found {' '.join(words)}. See {program} --help.")
    name = words[0] if words else "evaluate"
    command = _command(name)
    if wants_help:
        print(command_help(program, name, config))
        return "help", config, pathlib.Path()
    if wants_dry_run:
        if not command.has_dry_run:
            able = " and ".join(other for other in COMMANDS if COMMANDS[other].has_dry_run)
            raise UserError(f"--dry_run is of the commands {able}; {name} has no such flag.")
        config[name].dry_run = True
    suffix = "" if command.shares_workdir or config.name == name else f"_{name}"
    workdir = workdir or str(default_workdir(config, written, __version__, suffix, command.own_sections))
    writes = not (command.has_dry_run and config[name].dry_run)
    return name, config, usable_folder(workdir) if writes else pathlib.Path(workdir)


def _command(name: str) -> Command:
    """Finds a command by its name.

    Raises:
        UserError: There is none, with what it is called now or what is close to it.
    """
    if name in RENAMED:
        raise UserError(f"the command {name} is now {RENAMED[name]}.")
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"there is no command {name!r}.{hint} The commands are {', '.join(COMMANDS)}.")
    return COMMANDS[name]
