"""`genmill`: assemble the verbs, and turn every error into the right sentence and exit code."""

import sys

import typer

from components.errors import DISK_FULL, UserError
from genmill import audit, data, generation, promotion, registry, resume, run, services, serving, setup, tune

app = typer.Typer(
    name="genmill",
    help="From raw bytes to a generative model in production, with the record to prove it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (setup, run, resume, registry, generation, audit, promotion, serving, tune, services):
    group.add_to(app)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except UserError as error:
        _tell(str(error), error.resume)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        _tell(f"The disk is full ({error.filename or 'no space left'}): free some space and run the same command again; nothing is lost.", None)
        sys.exit(UserError.exit_code)


def _tell(message: str, resume: str | None) -> None:
    print(f"genmill: {message}", file=sys.stderr)
    if resume:
        print(f"go on with: {resume}", file=sys.stderr)


if __name__ == "__main__":
    main()
