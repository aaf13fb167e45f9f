from __future__ import annotations

import subprocess
import sys


def test_recursion_limit__with_everything_loaded__is_as_python_has_it() -> None:
    """A library raises it a hundredfold, and deeply nested JSON would then overflow the stack."""
    look = (
        "import sys; before = sys.getrecursionlimit();"
        "import app.wiring, app.web.application, app.attester.judge, app.proving.engine, app.client, app.cli.verify;"
        "print(sys.getrecursionlimit() - before)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
