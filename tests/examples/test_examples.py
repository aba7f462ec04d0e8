"""What each example shows, in each language that it is written in."""
import json
import re
import signal
import subprocess

import pytest
from conftest import EXAMPLES, KEY, RUN_SECONDS, read_until

HELLO = ["python/hello.py", "typescript/hello.ts", "curl/session.sh"]
APPROVE = ["python/approve_tools.py", "typescript/approve_tools.ts"]
CUSTOM = ["python/custom_tool.py", "typescript/custom_tool.ts"]
ALL = [*HELLO, *APPROVE, *CUSTOM, "python/resume.py"]

ECHO = 'TOOL bash {"command": "echo $((6 * 7))"}\nSAY it printed {{last_tool_result}}'


def said(done):
    """The lines of a good run."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("example", HELLO)
def test_hello_shows_the_turn_and_its_answer(run, example):
    lines = said(run(example, "--prompt", ECHO))
    assert any(line.startswith("tool: bash ") and "6 * 7" in line for line in lines)
    assert "agent: it printed 42" in lines
    assert lines.index("event: session.status_running") < lines.index("agent: it printed 42")
    assert lines[-1].startswith("done")


@pytest.mark.parametrize("example", HELLO)
def test_a_prompt_of_several_lines_with_quotes_arrives_as_it_is(run, example):
    assert 'agent: OK: say "it\'s\\fine"' in said(run(example, "--prompt", 'say "it\'s\\fine"\n$HOME `x`'))


@pytest.mark.parametrize("example", ALL)
def test_every_example_runs_with_its_own_prompt(run, example):
    lines = said(run(example))
    assert any(line.startswith("agent: OK: ") for line in lines)
    assert lines[-1].startswith("done")


@pytest.mark.parametrize("example", ALL)
def test_a_turn_that_fails_is_a_failure(run, example):
    done = run(example, "--prompt", "FAIL 400 9\nSAY never")
    assert done.returncode == 1
    assert "retries_exhausted" in done.stderr
    assert "done" not in done.stdout


@pytest.mark.parametrize("example", ALL)
def test_a_wrong_key_is_a_failure(run, example):
    done = run(example, OSTLER_API_KEY="wrong")
    assert (done.returncode, "authentication_error" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("example", [*HELLO[:2], *APPROVE, *CUSTOM])
def test_the_variables_of_the_official_sdks_are_enough(run, server, example):
    lines = said(run(example, OSTLER_URL="", OSTLER_API_KEY="", ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=KEY))
    assert lines[0].rstrip("/") == "server: " + server.url


@pytest.mark.parametrize("example", HELLO)
def test_who_interrupts_it_leaves_nothing_behind(start, example):
    process = start(example, "--prompt", "GATE never\nSAY never")
    read_until(process, "span.model_request_start")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=RUN_SECONDS)
    assert process.returncode != 0


@pytest.mark.parametrize("example", APPROVE)
@pytest.mark.parametrize(
    "typed, flag, runs",
    [("y\n", None, True), ("n\n", None, False), ("", None, False), ("", "allow", True), ("y\n", "deny", False)],
)
def test_a_tool_runs_only_when_a_person_allows_it(run, example, typed, flag, runs):
    arguments = ["--answer", flag] if flag else []
    lines = said(run(example, "--prompt", ECHO, *arguments, typed=typed))
    assert any(line.startswith("the agent wants to run: bash ") for line in lines)
    assert any(line.endswith("answer: " + ("allow" if runs else "deny")) for line in lines)
    assert ("agent: it printed 42" in lines) == runs
    assert any("The user does not want this" in line for line in lines) != runs


@pytest.mark.parametrize("example", APPROVE)
def test_each_of_several_calls_has_its_own_answer(run, example):
    calls = 'TOOL bash {"command": "echo one"}\nTOOL bash {"command": "echo two"}\nSAY {{tool_results}}'
    lines = said(run(example, "--prompt", calls, typed="y\nn\n"))
    answers = [line.rpartition("answer: ")[2] for line in lines if "answer: " in line]
    assert answers == ["allow", "deny"]
    assert "agent: one" in lines and "two" not in lines


@pytest.mark.parametrize("example", CUSTOM)
def test_a_custom_tool_answers_from_the_program(run, example):
    calls = 'TOOL look_up_order {"number": "1042"}\nTOOL look_up_order {"number": "7"}\nSAY {{tool_results}} {{last_tool_error}}'
    lines = said(run(example, "--prompt", calls))
    (answer,) = [line.removeprefix("agent: ") for line in lines if line.startswith("agent: ")]
    order, _, missing = answer.partition(" | ")
    assert json.loads(order) == {"item": "brass barometer", "status": "shipped", "arrives": "Friday"}
    assert missing == "there is no order 7 true"


def positions(lines):
    return [int(line.split()[0]) for line in lines if re.match(r"\d+ ", line)]


def test_resume_goes_on_where_it_was_without_gap_or_duplicate(run):
    lines = said(run("python/resume.py", "--break-after", "2", "--prompt", ECHO))
    assert lines.count("-- hanging up") > 2
    seen = positions(lines)
    assert seen == list(range(1, len(seen) + 1))
    assert "agent: it printed 42" in lines


def test_resume_survives_a_server_that_is_killed(start, server, model):
    process = start("python/resume.py", "--prompt", "GATE killed\nSAY still here")
    lines = read_until(process, "span.model_request_start")
    server.kill()
    server.start()
    model.open_gate("killed")
    out, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, err
    lines = [line.strip() for line in lines] + out.splitlines()
    assert any(line.startswith("-- broken: ") for line in lines)
    seen = positions(lines)
    assert seen == list(range(1, len(seen) + 1))
    assert "agent: still here" in lines


def test_the_typescript_examples_are_typed(typescript):
    """The build checks types, too; this is the command of the README's package."""
    done = subprocess.run(["npm", "run", "--silent", "check"], cwd=typescript, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    wrong = typescript / "wrong.ts"
    call = 'new Anthropic().beta.sessions.create({ agent: 7, environment_id: "e" });'
    wrong.write_text('import Anthropic from "@anthropic-ai/sdk";\n' + call + "\n")
    try:
        done = subprocess.run(["npm", "run", "--silent", "check"], cwd=typescript, capture_output=True, text=True)
    finally:
        wrong.unlink()
    assert "wrong.ts(2," in done.stdout, "types of the SDK are not looked at"


def test_the_model_was_sent_nothing_wrong(run, model):
    """Last in this file: it speaks of all requests before it."""
    said(run("python/hello.py", "--prompt", "SAY fine"))
    assert model.violations() == []


def test_the_readme_names_every_example_and_no_other():
    text = (EXAMPLES / "README.md").read_text()
    named = set(re.findall(r"`(\w+/\w+\.(?:py|ts|sh))`", text))
    there = {f"{path.parent.name}/{path.name}" for path in EXAMPLES.glob("*/*") if path.suffix in (".py", ".ts", ".sh")}
    assert named == there == set(ALL)
    scripts = json.loads((EXAMPLES / "typescript" / "package.json").read_text())["scripts"]
    assert set(re.findall(r"npm run (\w+)", text)) <= set(scripts)
