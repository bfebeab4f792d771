"""Where a site's jobs come from: a file of its own, or the sample day that ships with the project.

`python -m data.workloads` writes the sample anew: a day of the job generator's training, tuning and batch jobs on the
12 MW cluster `hpc-1`, without the small ones.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from data.arrivals import generate_arrivals
from data.jobs import JobSpec, load_jobs, to_specs
from data.schema import PERIODS_PER_DAY

SAMPLE: Final = Path(__file__).parent / "synthetic" / "workloads.json"
SAMPLE_DAY: Final = datetime(2025, 11, 24, tzinfo=UTC)
SAMPLE_DAYS: Final = (0, 1, 2)  # the sample day is repeated today, tomorrow and on the day after
CLUSTER: Final = "hpc-1"
CAPACITY_KW: Final = 12_000.0
LEAST_KW: Final = 150.0
LEAST_H: Final = 1.0
SEED: Final = 1


def workloads(path: Path | None, now: datetime, power_limit_kw: float = CAPACITY_KW) -> list[JobSpec]:
    """The jobs at hand.

    Args:
        path: A file as `data.jobs.load_jobs` reads it; without one the sample day comes every day, each time under
            names of its own.
        now: The present instant, UTC.
        power_limit_kw: What the cluster can give to one job.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no valid jobs.
    """
    if path is not None:
        return load_jobs(path, power_limit_kw)
    day = load_jobs(SAMPLE, power_limit_kw)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return [_on(job, midnight + timedelta(days=days)) for days in SAMPLE_DAYS for job in day]


def _on(job: JobSpec, midnight: datetime) -> JobSpec:
    later = midnight - SAMPLE_DAY
    changes = {
        "job_id": f"{job.job_id}-{midnight:%Y%m%d}",
        "arrival_time": job.arrival_time + later,
        "deadline": job.deadline + later,
    }
    return job.model_copy(update=changes)


def sample() -> list[dict[str, Any]]:
    """The jobs of the sample day, as they stand in its file."""
    drawn = to_specs(generate_arrivals(SAMPLE_DAY, PERIODS_PER_DAY, SEED, CAPACITY_KW), SAMPLE_DAY, CLUSTER)
    kept = [job for job in drawn if job.power_kw >= LEAST_KW and job.duration_hours >= LEAST_H]
    rows = []
    for number, job in enumerate(kept, start=1):
        row = job.model_dump(mode="json")
        row |= {name: round(row[name], 1) for name in ("power_kw", "sla_penalty_per_hour")}
        rows.append(row | {"job_id": f"job-{number:03d}"})
    return rows


def main() -> None:
    """Write the sample."""
    rows = sample()
    SAMPLE.parent.mkdir(exist_ok=True)
    SAMPLE.write_text(json.dumps({"jobs": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {SAMPLE}: {len(rows)} jobs of {SAMPLE_DAY:%Y-%m-%d}")


if __name__ == "__main__":
    main()
