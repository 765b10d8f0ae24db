"""Runs the stages of one run, or skips them, and records either with its reason."""

import logging
import resource
import time

from batch_jobs.runs.run_log import STAGE_NAME
from batch_jobs.runs.run_records import DONE, RUNNING, RunRecord
from batch_jobs.runs.stages import (
    Difference,
    RefreshStage,
    Work,
    delete_stage_record,
    differences,
    read_stage_record,
    write_stage_record,
)

log = logging.getLogger(__name__)

SKIPPED = "skipped"
SAME = "same data, settings and code"


class StageRunner:
    """Runs or skips stages, one after the other."""

    def __init__(self, work: Work, run: RunRecord) -> None:
        """For one run."""
        self.work, self._run = work, run

    def differences(self, stage: RefreshStage) -> list[Difference]:
        """What differs from the stage's last result; an error in finding it is one of the stage."""
        self._begin(stage)
        return differences(read_stage_record(self.work.paths, stage.name), stage.key(self.work), self.work)

    def advance(self, stage: RefreshStage) -> None:
        """Runs a stage unless nothing that it depends on has changed."""
        found = self.differences(stage)
        if stage.always_runs:
            self.run(stage, "it finds out what is left to do")
        elif found:
            self.run(stage, "; ".join(map(str, found)))
        else:
            self.skip(stage, SAME)

    def run(self, stage: RefreshStage, why: str) -> None:
        """Runs a stage, for a reason."""
        self._begin(stage)
        log.info("%s ...", stage.name)
        self._run.update_stage(why=why)
        self._run.save()
        start, cpu = time.monotonic(), _cpu_seconds()
        # The key first: what changes while the stage reads is new data to the next run.
        key = stage.key(self.work)
        delete_stage_record(self.work.paths, stage.name)
        stage.job(self.work)
        write_stage_record(self.work, stage, key, self._run.id)
        self.work.checksums.save()
        seconds = round(time.monotonic() - start, 2)
        self._run.update_stage(state=DONE, seconds=seconds, cpu_seconds=round(_cpu_seconds() - cpu, 2))
        log.info("%s: %.1f s (%s)", stage.name, seconds, why)
        STAGE_NAME.set(None)

    def skip(self, stage: RefreshStage, why: str) -> None:
        """Records that a stage was skipped, for a reason."""
        self._begin(stage)
        log.info("%s: skipped, %s", stage.name, why)
        self._run.update_stage(state=SKIPPED, why=why, seconds=0.0)
        STAGE_NAME.set(None)

    def _begin(self, stage: RefreshStage) -> None:
        """Records that a stage is at work, unless it is known already."""
        if STAGE_NAME.get() != stage.name:
            STAGE_NAME.set(stage.name)
            self._run.add_stage(stage=stage.name, state=RUNNING, why="not known yet")


def _cpu_seconds() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
