"""The verb that searches for better settings: tune."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmill.options import JsonOption, ProjectOption, complete_model, open_project

if TYPE_CHECKING:
    from pipelines.tune import TuneOutcome

ModelArgument = Annotated[str, typer.Argument(help="A model of params.yaml, or FAMILY-DATASET.", autocompletion=complete_model)]
TrialsOption = Annotated[int, typer.Option("--trials", min=2, max=10_000, help="Trials in all; those of an earlier time count.")]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Steps of each trial, where the model's own would take too long.")]
SeedsOption = Annotated[int, typer.Option("--seeds", min=2, max=100, help="Fresh seeds from which the best trial is confirmed, at the model's own steps.")]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", min=0, help="Minutes after which no further training begins.")]
SizeOption = Annotated[str | None, typer.Option("--size", help="tiny, small or base, in place of what params.yaml says.")]
WriteOption = Annotated[bool, typer.Option("--write", help="Put what is offered into params.yaml.")]


def add_to(app: typer.Typer) -> None:
    app.command()(tune)


def tune(
    model: ModelArgument,
    trials: TrialsOption = 20,
    steps: StepsOption = None,
    seeds: SeedsOption = 3,
    timeout: TimeoutOption = None,
    size: SizeOption = None,
    write: WriteOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for better settings of a model; what holds from fresh seeds is offered as a change of params.yaml.

    Trials are scored on the validation split and go on where they were stopped. What is searched: the family's own space, and `tune:` in the model's block.

    Example: [bold]genmill tune vae-digits --trials 20[/]
    """
    where = open_project(project)
    from pipelines.catalog import load_catalog

    catalog = load_catalog(where, size=size)
    catalog.model(model)
    from genmill.console import LiveListener
    from genmill.services import ensure_servers, require_repository

    require_repository(where)
    with LiveListener() as listener:
        ensure_servers(where, catalog, listener.say)
        from pipelines.console import listening
        from pipelines.flow_runs import of_project
        from pipelines.outcomes import RunInterrupted
        from pipelines.tune import tune as tune_flow

        try:
            with listening(listener), of_project(where):
                outcome = tune_flow(str(where.root), model, trials, steps, seeds, None if timeout is None else 60 * timeout, size, write)
        except KeyboardInterrupt:
            again = shlex.join(["genmill", *sys.argv[1:]])
            raise RunInterrupted("Interrupted; the trials that are done, and the last checkpoint, are kept.", resume=again) from None
    _show(outcome, as_json)


def _show(outcome: "TuneOutcome", as_json: bool) -> None:
    from genmill.console import out, print_json, print_table

    if as_json:
        print_json(outcome)
        return
    aims = outcome.objectives
    names = list(outcome.trials[0].params)
    ranked = sorted(outcome.trials, key=lambda one: (aims.costs(one) or (float("inf"),), one.number))
    rows = [_row(outcome, one.number, names) for one in ranked]
    print_table(f"Trials of {outcome.model} (validation split)", ("trial", "status", *aims.names, *names, "time"), rows)
    out.print()
    if outcome.verdict:
        out.print(outcome.verdict.sentence, soft_wrap=True)
    if outcome.line:
        _show_offer(outcome)
    out.print(f"Page       {outcome.page}", soft_wrap=True)
    if outcome.resume:
        out.print(f"Go on with {outcome.resume}", soft_wrap=True)


def _show_offer(outcome: "TuneOutcome") -> None:
    from genmill.console import out

    if outcome.written:
        out.print(f"Written    {outcome.line}   (models.{outcome.model} of params.yaml)", soft_wrap=True)
        out.print(f"Next       genmill run {outcome.model}", soft_wrap=True)
    else:
        out.print(f"Offered    {outcome.line}   (in models.{outcome.model} of params.yaml; --write puts it there)", soft_wrap=True)


def _row(outcome: "TuneOutcome", number: int, names: list[str]) -> tuple[Any, ...]:
    from genmill.console import human_seconds

    trial = outcome.trials[number]
    figures = [f"{figure.value:.4g}" if (figure := trial.figure(name)) is not None else "" for name in outcome.objectives.names]
    label = f"[green]{number + 1}[/]" if number == outcome.best else str(number + 1)
    values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in (trial.params[name] for name in names)]
    return (label, "present" if number == 0 else trial.status, *figures, *values, human_seconds(trial.seconds))
