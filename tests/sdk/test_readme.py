"""The example of the README does what it says."""
import contextlib
import io
import re

from conftest import KEY, ROOT


def test_the_example_runs(server):
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert 'base_url="http://127.0.0.1:8787", api_key="ostler_..."' in code
    code = code.replace("http://127.0.0.1:8787", server).replace("ostler_...", KEY)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    lines = printed.getvalue().split()
    assert lines[0] == "user.message" and lines[-1] == "session.status_idle"
