"""`tawsiya config`: shows the configuration."""

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job

config_app = typer.Typer(help="Show the configuration.", no_args_is_help=True)


@config_app.command("show")
def config_show(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Show every setting and its value."""

    def show(result: JobResult) -> str:
        import yaml

        text: str = yaml.safe_dump(result, sort_keys=False, allow_unicode=True)
        return text.rstrip()

    run_job(lambda settings: settings.model_dump(mode="json"), config, overrides, as_json, show)
