#!/usr/bin/env bash
# Submits a run to a Ray cluster, shows its log and ends with the exit code of tokenmill (75: the same command goes on).
#
#   export RAY_API_SERVER_ADDRESS=http://HEAD:8265
#   examples/ray/submit.sh FOLDER RECIPE --input ... --output ... [more options of `tokenmill run`]
#
# FOLDER travels to every machine and is the current folder there: a checkout (what git ignores stays here), or files of
# yours, such as my.py, with or without a wheel tokenmill-*.whl, which is then installed there for this job.
# Interrupting this script leaves the job running; `ray job stop ID` stops it in order.
set -euo pipefail

if (($# < 2)); then
  sed -n '2,9p' "$0"
  exit 2
fi
folder=$1
shift

# Everybody who may use the cluster can read the environment of a job. Better than keys: a role of the machines.
runtime_env=$(python - "$folder" <<'EOF'
import json, os, sys
from pathlib import Path

wanted = ("AWS_", "TOKENMILL_", "FSSPEC_")
runtime_env = {"env_vars": {name: value for name, value in os.environ.items() if name.startswith(wanted)}}
wheels = sorted(path.name for path in Path(sys.argv[1]).glob("tokenmill-*.whl"))
if len(wheels) > 1:
    sys.exit(f"several wheels in {sys.argv[1]}: {', '.join(wheels)}")
if wheels:  # what the machines have already is not installed again
    runtime_env["pip"] = ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/" + wheels[0]]
print(json.dumps(runtime_env))
EOF
)

id=tokenmill-$(date +%Y%m%d-%H%M%S)-$$
# `ray job submit` knows 0 and 1 only; the job knows the exit code of tokenmill
ray job submit --submission-id "$id" --working-dir "$folder" --runtime-env-json "$runtime_env" -- \
  python -m tokenmill run "$@" --executor ray || true
python - "$id" <<'EOF'
import sys
from ray.job_submission import JobSubmissionClient

job = JobSubmissionClient().get_job_info(sys.argv[1])
code = job.driver_exit_code
if code is None:  # ended from outside
    code = 75 if job.status == "STOPPED" else 1
print(f"{sys.argv[1]}: {job.status}, exit code {code}", file=sys.stderr)
sys.exit(code)
EOF
