"""The first hour of a user who has the wheel and an empty folder: set up, look, fetch, against a tenant over HTTP.

dist.py runs it with the Python of the environment in which the wheel is installed.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import sacnb.sandbox

PROGRAM = Path(sysconfig.get_path("scripts"), "sacnb")
FETCH = """
import sacnb
with sacnb.connect({arguments}) as sac:
    print(len(sac.model("US_EMPLOYMENT").facts(where={{"Version": "public.Actual"}}, since="2015-01").fetch()), "rows")
"""


def main() -> None:
    """Raise CalledProcessError if a step fails, AssertionError if it does not do what it says."""
    assert not any(Path().iterdir()), "the folder is not empty"
    assert sacnb.__version__ in run("--version")
    with sacnb.sandbox.start() as tenant:
        urls = ("--tenant-url", tenant.tenant_url, "--token-url", tenant.token_url)
        init = ("init", *urls, "--client-id", tenant.client_id, "--secret-stdin")
        shown = run(*init, stdin=tenant.client_secret) + run(*init, "--profile", "prod", stdin=tenant.client_secret)
        assert tenant.client_secret not in shown
        assert "sacnb --profile prod models" in shown
        assert tenant.client_secret in Path(".env").read_text(encoding="utf-8")
        assert "Data can be read." in run("doctor")
        assert "US_EMPLOYMENT" in run("models", "employment")
        run("export", "US_EMPLOYMENT", "--since", "2015-01", "--format", "csv", "--output", "jobs.csv")
        assert len(Path("jobs.csv").read_text(encoding="utf-8").splitlines()) > 100
        assert "Data can be read." in run("--profile", "prod", "doctor")
        Path(".env").unlink()
        for arguments in ('profile="prod"', '"sandbox"'):
            code = FETCH.format(arguments=arguments)
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            assert done.stdout.endswith(" rows\n"), done.stdout
    print("The first hour went well: init, doctor, models, export and fetch, with .env and with a profile.")


def run(*arguments: str, stdin: str = "") -> str:
    """Run the program and return what it shows, on stderr too."""
    done = subprocess.run(
        [PROGRAM, *arguments], input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, f"sacnb {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


if __name__ == "__main__":
    main()
