"""The pages for newcomers say what holds: the worked example prints what its table says, every setting is in the tables."""
import contextlib
import io
import os
import re
import subprocess

import anthropic
from conftest import KEY, ROOT
from servers import PROGRAMS

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
QUESTION = "How many words has /usr/share/common-licenses/GPL-3?"


def test_the_worked_example_prints_what_the_table_says(server):
    text = (ROOT / "docs" / "concepts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (table,) = re.findall(r"\| what is printed \|.*?\n\|---\|---\|\n(.*)", text, re.DOTALL)
    expected = [name for row in table.splitlines() for name in re.findall(r"`(\S+?)`", row.split("|")[1])]
    assert QUESTION in code and 'base_url="http://127.0.0.1:8787", api_key="ostler_..."' in code
    script = 'TOOL bash {"command": "echo 5644"}\\nSAY {{last_tool_result}}'.replace('"', '\\"')
    code = code.replace("http://127.0.0.1:8787", server.url).replace("ostler_...", KEY).replace(QUESTION, script)
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "concepts.md", "exec"), names)
    client = anthropic.Anthropic(base_url=server.url, api_key=KEY)
    client.beta.sessions.delete(names["session"].id)
    client.beta.environments.delete(names["environment"].id)
    client.beta.agents.archive(names["agent"].id)
    assert printed.getvalue().split() == expected


def printed_by(*arguments):
    """What the program prints."""
    return subprocess.run([PROGRAMS / "ostler", *arguments], capture_output=True, text=True, check=True).stdout


def settings_of_the_default_file():
    """Names as the tables write them, each with its default."""
    text = printed_by("config", "default")
    section, found = "", {}
    for line in text.splitlines():
        if header := re.fullmatch(r"#? ?\[(.+)\]", line):
            section = re.sub(r"^(providers)\..*", r"\1.NAME", header[1])
            section = re.sub(r"^(models|prices)\..*", r'\1."ID"', section) + "."
        elif setting := re.fullmatch(r"# ([a-z_0-9]+) = (.*)", line):
            found[section + setting[1]] = setting[2].strip('"')
        elif section == "egress.resolve." and re.fullmatch(r'# ".+" = (.*)', line):
            found[section + '"HOST"'] = ""
    return found


def rows():
    """Of the table of settings: the names of each row, and the row."""
    table = CONFIGURATION.split("## Settings")[1].split("`server.listen`, written")[0]
    for line in table.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            first, *others = re.findall(r"`([^`]+)`", cells[0])
            yield [first, *(first.rpartition(".")[0] + other for other in others)], cells


def test_every_setting_is_in_the_table_and_no_other():
    documented = {name for names, _ in rows() for name in names}
    assert documented == set(settings_of_the_default_file())


def test_the_defaults_are_those_of_the_program():
    defaults = settings_of_the_default_file()
    plain = ["server.listen", "server.allow_plaintext", "model.default", "model.max_output_tokens"]
    plain += ["sandbox.uid_first", "sandbox.uid_count"]
    stated = {name: cells[3] for names, cells in rows() for name in names}
    assert {name: stated[name].strip("`") for name in plain} == {name: defaults[name] for name in plain}


def test_every_variable_and_flag_of_the_program_is_described():
    default = printed_by("config", "default")
    helps = [printed_by(role, "--help") for role in ("serve", "run")]
    variables = set(re.findall(r"\b(?:OSTLER|ANTHROPIC|OPENAI|OPENROUTER|OLLAMA)_[A-Z_]+\b", default + "".join(helps)))
    assert len(variables) > 10
    assert [name for name in sorted(variables) if f"`{name}`" not in CONFIGURATION] == []
    flags = set(re.findall(r"(--[a-z-]+) <", helps[0])) | {"--allow-plaintext"}
    assert [flag for flag in sorted(flags) if f"`{flag}`" not in CONFIGURATION] == []


def test_the_settings_of_the_examples_are_accepted(tmp_path):
    snippets = re.findall(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert len(snippets) >= 3

    def told(text):
        file = tmp_path / "ostler.toml"
        file.write_text(text)
        keys = {name: "k" for name in re.findall(r'api_key_env = "(\w+)"', text)}
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **keys}
        command = [PROGRAMS / "ostler", "models", "list", "--config", file, "--data-dir", tmp_path / "data"]
        return subprocess.run(command, env=env, capture_output=True, text=True).stderr

    for snippet in snippets:
        assert "no server holds the data directory" in told(snippet), snippet
    assert "unknown field" in told("[server]\nlissten = 1\n")
